import Foundation
import JSON
import NIOHTTP1
import Testing

@testable import Injector

/// `--hub-file` of the injector and of `warren inject`, as they are run.
@Suite(.timeLimit(.minutes(2))) struct HubFileTests {
    private static func process(_ name: String, _ arguments: [String]) throws -> (Process, Pipe) {
        let bundle = try #require(CommandLine.arguments.first { $0.contains(".xctest") })
        let end = try #require(bundle.range(of: ".xctest")).upperBound
        let process = Process()
        process.executableURL = URL(fileURLWithPath: String(bundle[..<end])).deletingLastPathComponent()
            .appendingPathComponent(name)
        process.arguments = arguments
        let out = Pipe()
        process.standardOutput = out
        process.standardError = FileHandle.nullDevice
        return (process, out)
    }

    private static func output(_ name: String, _ arguments: [String]) throws -> (status: Int32, out: String) {
        let (process, out) = try process(name, arguments)
        try process.run()
        let text = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    /// A hub's public text, from a hub that was made for it.
    private static func hubText(_ folder: String, _ name: String) throws -> String {
        let made = try output(
            "warren-hub",
            ["init", "--dir", "\(folder)/\(name)", "--mesh", "demo", "--address", "\(name).example:443"])
        #expect(made.status == 0)
        let text = try output("warren-hub", ["advertise", "--public", "--dir", "\(folder)/\(name)"])
        #expect(text.status == 0 && text.out.hasPrefix("warrenhub1."))
        return text.out
    }

    private static let pod: JSONValue = [
        "apiVersion": "v1", "kind": "Pod",
        "metadata": ["name": "cart-0", "namespace": "shop", "labels": ["warren.dev/inject": "enabled"]],
        "spec": [
            "serviceAccountName": "cart",
            "containers": [
                ["name": "cart", "image": "shop/cart:1", "volumeMounts": []], ["name": "log", "image": "log"],
            ],
        ],
    ]

    @Test func `webhook and warren inject give one pod, and a new text counts at once`() async throws {
        try await Scratch.folder { folder in
            let (first, second) = (try Self.hubText(folder, "one"), try Self.hubText(folder, "two"))
            #expect(first != second)
            let file = "\(folder)/hub"
            try first.write(toFile: file, atomically: true, encoding: .utf8)
            let ports = [Int.random(in: 20000...29999), Int.random(in: 30000...39999)]
            let (process, _) = try Self.process(
                "warren-injector",
                [
                    "--listen", "127.0.0.1:\(ports[0])", "--health-port", "\(ports[1])", "--tls-dir", "\(folder)/tls",
                    "--self-made", "--dns-name", ReviewCaller.name, "--drain", "0", "--image", "acme/warren:2",
                    "--hub-file", file, "--device", "node",
                ])
            try process.run()
            defer {
                process.terminate()
                process.waitUntilExit()
            }
            var bundle: String?
            for _ in 0..<200 where bundle == nil {
                try await Task.sleep(nanoseconds: 50_000_000)
                let status = try? await ReviewCaller.with(port: ports[1], bundle: nil) {
                    try await $0(.GET, "/readyz", [])
                }
                if status?.status == 200 {
                    bundle = try? String(contentsOfFile: "\(folder)/tls/ca.crt", encoding: .utf8)
                }
            }
            #expect(bundle != nil)
            func reviewed() async throws -> JSONValue {
                let review: JSONValue = [
                    "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                    "request": [
                        "uid": "u", "resource": ["group": "", "version": "v1", "resource": "pods"],
                        "operation": "CREATE", "namespace": "shop", "object": Self.pod,
                    ],
                ]
                let answer = try await ReviewCaller.with(port: ports[0], bundle: bundle) {
                    try await $0(.POST, "/inject", review.serialized)
                }
                let patch = try #require(
                    try JSONValue(parsing: answer.body)["response"]?["patch"]?.text.flatMap { Data(base64Encoded: $0) })
                return try JSONValue(parsing: Array(patch))
            }

            let operations = try await reviewed()
            let sidecar = try #require(
                operations.elements?.first { $0["path"] == "/spec/initContainers" }?["value"]?.elements?.first)
            let command = (sidecar["command"]?.elements ?? []).compactMap(\.text)
            #expect(command.contains("--hub=\(first.dropLast())"))
            #expect(command.contains("--service-account-token=/etc/warren/token"))

            // By hand: the same sidecar and volumes.
            let source = "\(folder)/pod.json"
            try String(decoding: Self.pod.serialized, as: UTF8.self).write(
                toFile: source, atomically: true, encoding: .utf8)
            let words = [
                "inject", "-f", source, "--json", "--image", "acme/warren:2", "--hub-file", file, "--device", "node",
            ]
            let byHand = try JSONValue(parsing: Array(try Self.output("warren", words).out.utf8))
            #expect(byHand["spec"]?["initContainers"]?.elements == [sidecar])
            #expect(
                byHand["spec"]?["volumes"] == operations.elements?.first { $0["path"] == "/spec/volumes" }?["value"])
            let token = try #require(byHand["spec"]?["volumes"]?.elements?.first { $0["name"] == "warren-token" })
            #expect(
                token["projected"]?["sources"] == [
                    ["serviceAccountToken": ["audience": "warren", "expirationSeconds": 3600, "path": "token"]]
                ])
            // No other container has it.
            #expect(byHand["spec"]?["containers"] == Self.pod["spec"]?["containers"])

            try second.write(toFile: file, atomically: true, encoding: .utf8)
            var isNew = false
            for _ in 0..<100 where !isNew {
                try await Task.sleep(nanoseconds: 100_000_000)
                isNew = String(decoding: try await reviewed().serialized, as: UTF8.self)
                    .contains(second.dropLast())
            }
            #expect(isNew)
            // Junk does not count: what was there before stays.
            try "junk".write(toFile: file, atomically: true, encoding: .utf8)
            try await Task.sleep(nanoseconds: 6_000_000_000)
            #expect(String(decoding: try await reviewed().serialized, as: UTF8.self).contains(second.dropLast()))
            #expect(process.isRunning)
        }
    }

    @Test func `a file that is no hub's is an error that says so`() throws {
        for file in ["/nonexistent", "/proc/self/status"] {
            let result = try Self.output("warren", ["inject", "-f", "/dev/null", "--hub-file", file])
            #expect(result.status != 0 && result.out.isEmpty)
        }
    }
}
