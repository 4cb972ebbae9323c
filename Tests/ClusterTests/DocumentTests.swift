import Foundation
import TestSupport
import Testing

/// The documents: messages that they quote are those of the programs, and what they lead to is there.
@Suite struct DocumentTests {
    private static let documents = ["docs/kubernetes.md", "docs/security.md", "docs/troubleshooting.md"]

    /// The sources as their strings read: continued and joined lines are one, quotes are bare.
    private static let sources: String = {
        var text = ""
        let root = URL(fileURLWithPath: "\(Manifests.root)/Sources")
        for case let file as URL in FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil) ?? .init()
        {
            if file.pathExtension == "swift" { text += (try? String(contentsOf: file, encoding: .utf8)) ?? "" }
        }
        return text.replacing(/\\\n\s*/, with: "").replacing(/"\s*\n?\s*\+ "/, with: "").replacing("\\\"", with: "\"")
    }()

    private static let messages: [String] = {
        let lines = ((try? Manifests.text("docs/troubleshooting.md")) ?? "").split(separator: "\n")
        return lines.filter { $0.hasPrefix("### `") && $0.hasSuffix("`") }.map { String($0.dropFirst(5).dropLast()) }
    }()

    @Test func `messages are quoted`() { #expect(Self.messages.count > 25) }

    @Test(arguments: messages)
    func `what is quoted is what a program says`(_ message: String) {
        let parts = message.components(separatedBy: "…").filter { $0.count > 3 }
        #expect(parts.contains { $0.count >= 12 }, "too little to know it by")
        for part in parts { #expect(Self.sources.contains(part), "\(part)") }
    }

    @Test(arguments: documents)
    func `links lead somewhere, and paths that are named exist`(_ document: String) throws {
        let text = try Manifests.text(document)
        var checked = 0
        for match in text.matches(of: /\]\(([^)#]+)(#[^)]*)?\)/) where !match.output.1.contains("://") {
            let path = URL(fileURLWithPath: "\(Manifests.root)/\(document)").deletingLastPathComponent()
                .appendingPathComponent(String(match.output.1)).standardizedFileURL.path
            #expect(FileManager.default.fileExists(atPath: path), "\(match.output.1)")
            checked += 1
        }
        for match in text.matches(of: /manifests\/[a-z0-9\/.]+[a-z0-9]/) {
            #expect(FileManager.default.fileExists(atPath: "\(Manifests.root)/\(match.output)"), "\(match.output)")
            checked += 1
        }
        if document != "docs/security.md" { #expect(checked > 0) }
    }

    @Test func `the version in the text is this one`() throws {
        let version = try Manifests.run(["\(Manifests.root)/.ci/version"]).output.filter { !$0.isNewline }
        #expect(try Manifests.text("docs/kubernetes.md").contains("newTag: \(version)\n"))
    }
}
