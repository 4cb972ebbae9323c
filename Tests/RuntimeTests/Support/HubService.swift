import Foundation
import Lab

/// A hub beside the node, as its own uid.
final class HubService {
    private let node: Node
    private let folder: String
    private let process: ChildProcess

    init(beside node: Node) throws {
        self.node = node
        folder = node.sandbox.path("hub")
        try makeFolder(folder, mode: 0o700, owner: Plan.hubUID)
        let (control, relay) = ("\(Node.hubAddress):7443", "\(Node.hubAddress):3478")
        try Self.command(
            [
                "init", "--dir", folder, "--mesh", Plan.meshName, "--prefix", Plan.meshPrefix, "--ipv4-range",
                Plan.meshIPv4, "--address", control, "--relay", relay,
            ], node)
        process = try node.hubNamespace.spawn(
            Plan.unprivileged(uid: Plan.hubUID) + [
                "\(node.image.folder)/warren-hub", "serve", "--dir", folder, "--listen", "0.0.0.0:7443",
                "--relay-listen", relay,
            ], environment: Image.environment(folder: node.image.folder))
        try waitUntil("hub healthy", timeout: 15, every: 0.05) { [process] in
            guard process.isRunning else { throw LabError.ended("the hub", text: process.standardError) }
            return try node.hubNamespace.result(of: ["curl", "-ksf", "--max-time", "2", "https://\(control)/healthz"])
                .succeeded
        }
    }

    var log: String { process.standardError }

    func token(_ name: String) throws -> String {
        try Self.command(["token", "create", "--dir", folder, "--name", name], node)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    @discardableResult
    private static func command(_ words: [String], _ node: Node) throws -> String {
        let output = try node.hubNamespace.result(
            of: Plan.unprivileged(uid: Plan.hubUID) + ["\(node.image.folder)/warren-hub"] + words,
            environment: Image.environment(folder: node.image.folder))
        guard output.succeeded else {
            throw LabError.command(["warren-hub"] + words, status: output.status, text: output.text)
        }
        return output.standardOutput
    }
}
