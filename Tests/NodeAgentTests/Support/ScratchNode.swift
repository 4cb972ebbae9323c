import Addressing
import CNI
import Glibc
import Linux
import NodeAgent
import TestSupport
import Timing

/// A node's folders, with the built plugin as what is to be installed. They go away with this value.
final class ScratchNode: Sendable {
    let folder: ScratchFolder
    let configuration: NodeConfiguration

    static let ptp = """
        {
          "cniVersion": "1.0.0",
          "x-unknown": {"b": 1.50, "a": [null, true]},
          "name": "pods",
          "plugins": [
            {"type": "ptp", "mtu": 1500, "ipam": {"type": "host-local"}},
            {"type": "portmap", "capabilities": {"portMappings": true}}
          ]
        }

        """

    /// - Parameter plugin: a program to install; nil for the built plugin.
    init(plugin: String? = nil) throws {
        folder = try ScratchFolder()
        for name in ["bin", "net.d", "run"] { try folder.makeFolder(name) }
        let (path, state) = (folder.path, folder.path + "/run")
        guard let mesh = IPPrefix("fd00:9::/48") else { throw Program.Failure(description: "mesh") }
        let entry = PluginEntry(
            mesh: mesh, node: 7, ipv4Block: IPPrefix("10.9.7.0/24"), routes: [], ownerUid: 64738, annotatedOnly: false,
            stateFolder: state, agentRequired: false)
        configuration = NodeConfiguration(
            plugin: try plugin ?? Program.path("warren-cni"), binFolder: path + "/bin", confFolder: path + "/net.d",
            stateFolder: state, listen: Endpoint("127.0.0.1:0"), entry: entry.json)
    }

    /// The configuration file's text.
    func conf(_ name: String) -> String? { folder.read("net.d/\(name)") }

    /// The plugin types of a list; nil when there is none that can be read.
    func types(_ name: String) -> [String]? {
        conf(name).flatMap { try? Conflist(parsing: Array($0.utf8)).types }
    }

    /// Whether the plugin is there, byte for byte. (As text it would take seconds: the runner keeps a backtrace of each
    /// byte that is not UTF-8, which the standard library throws.)
    func hasPlugin() throws -> Bool {
        guard folder.names("bin").contains("warren-cni") else { return false }
        func bytes(_ path: String) throws -> [UInt8] {
            try FileDescriptor(open: path, O_RDONLY).readToEnd(limit: 1 << 27)
        }
        return try bytes("\(folder.path)/bin/warren-cni") == bytes(configuration.plugin)
    }
}

extension MonotonicTime {
    static func seconds(_ count: UInt64) -> MonotonicTime { .zero + .seconds(count) }
}
