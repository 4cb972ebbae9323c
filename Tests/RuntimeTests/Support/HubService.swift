import Foundation
import Glibc
import Lab

/// A hub beside the node, as its own uid.
final class HubService {
    private let node: Node
    private let folder: String
    private var process: ChildProcess
    private static let (control, relay) = ("\(Node.hubAddress):7443", "\(Node.hubAddress):3478")

    init(beside node: Node) throws {
        self.node = node
        folder = node.sandbox.path("hub")
        try makeFolder(folder, mode: 0o700, owner: Plan.hubUID)
        try Self.command(
            [
                "init", "--dir", folder, "--mesh", Plan.meshName, "--prefix", Plan.meshPrefix, "--ipv4-range",
                Plan.meshIPv4, "--address", Self.control, "--relay", Self.relay,
            ], node)
        process = try Self.start(in: folder, beside: node)
        try waitHealthy()
    }

    private static func start(in folder: String, beside node: Node) throws -> ChildProcess {
        try node.hubNamespace.spawn(
            Plan.unprivileged(uid: Plan.hubUID) + [
                "\(node.image.folder)/warren-hub", "serve", "--dir", folder, "--listen", "0.0.0.0:7443",
                "--relay-listen", relay,
            ], environment: Image.environment(folder: node.image.folder))
    }

    private func waitHealthy() throws {
        try waitUntil("hub healthy", timeout: 15, every: 0.05) { [process, node] in
            guard process.isRunning else { throw LabError.ended("the hub", text: process.standardError) }
            let words = ["curl", "-ksf", "--max-time", "2", "https://\(Self.control)/healthz"]
            return try node.hubNamespace.result(of: words).succeeded
        }
    }

    func kill() throws {
        process.signal(SIGKILL)
        try process.wait(timeout: 10)
    }

    func restart() throws {
        process = try Self.start(in: folder, beside: node)
        try waitHealthy()
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
