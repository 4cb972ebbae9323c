import Foundation
import Lab

/// A hub beside the node, as its own uid.
final class HubService {
    private let node: Node
    private let folder: String
    private let service: Service
    private static let (control, relay) = ("\(Node.hubAddress):7443", "\(Node.hubAddress):3478")

    init(beside node: Node) throws {
        let folder = node.sandbox.path("hub")
        (self.node, self.folder) = (node, folder)
        try makeFolder(folder, mode: 0o700, owner: Plan.hubUID)
        try Self.command(
            [
                "init", "--dir", folder, "--mesh", Plan.meshName, "--prefix", Plan.meshPrefix, "--ipv4-range",
                Plan.meshIPv4, "--address", Self.control, "--relay", Self.relay,
            ], node)
        service = try Service("the hub", in: node.hubNamespace, ready: "https://\(Self.control)/healthz") {
            try node.hubNamespace.spawn(
                Plan.unprivileged(uid: Plan.hubUID) + [
                    "\(node.image.folder)/warren-hub", "serve", "--dir", folder, "--listen", "0.0.0.0:7443",
                    "--relay-listen", Self.relay,
                ], environment: Image.environment(folder: node.image.folder))
        }
    }

    func kill() throws { try service.kill() }

    func restart() throws { try service.restart() }

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
