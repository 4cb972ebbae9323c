import Foundation
import Lab

/// `warren-node` on a node: it puts our entry into the primary plugin's conflist, and hands sidecars their TUN.
final class NodeAgent {
    private let node: Node
    private let confFolder: String
    private var process: ChildProcess
    private static let folder = "\(Node.folder)/sbin"
    private static let pluginConf = "\(Node.folder)/plugin.json"

    /// - Parameters:
    ///   - confFolder: where the runtime has its conflist, with the primary plugin alone.
    ///   - more: further keys of the plugin's entry.
    init(on node: Node, confFolder: String, more: String = "{}") throws {
        self.node = node
        self.confFolder = confFolder
        try node.run("mkdir", "-p", Self.folder)
        for program in ["warren-node", "warren-cni"] {
            let source = "\(try Programs.folder())/\(program)"
            try node.sandbox.run("install", "-m", "0755", source, "\(node.root)\(Self.folder)/\(program)")
        }
        try node.write(more, to: Self.pluginConf)
        process = try Self.start(on: node, confFolder)
        try waitReady()
    }

    private static func start(on node: Node, _ confFolder: String) throws -> ChildProcess {
        try node.spawn([
            "\(folder)/warren-node", "run", "--mesh", Plan.meshPrefix, "--node", "1", "--ipv4-block", Plan.meshIPv4,
            "--opt-in", "all", "--agent-required", "--cni-bin-dir", Node.plugins, "--cni-conf-dir", confFolder,
            "--state-dir", "/run/warren", "--plugin-conf", pluginConf,
        ])
    }

    var log: String { process.standardError }

    /// Waits until our entry is in the conflist and the agent says that it is healthy.
    private func waitReady() throws {
        try waitUntil("warren-node ready", timeout: 10, every: 0.1) {
            guard process.isRunning else { throw LabError.ended("warren-node", text: process.standardError) }
            let lists = names(in: node.root + confFolder).filter { $0.hasSuffix(".conflist") }
            let isInstalled = lists.contains { node.text("\(confFolder)/\($0)").contains(#""warren-cni""#) }
            return try isInstalled
                && node.result(of: ["curl", "-sf", "--max-time", "2", "http://127.0.0.1:9809/healthz"]).succeeded
        }
    }

    func kill() throws {
        try node.killAll("warren-node")
        try process.wait(timeout: 10)
    }

    func restart() throws {
        process = try Self.start(on: node, confFolder)
        try waitReady()
    }
}
