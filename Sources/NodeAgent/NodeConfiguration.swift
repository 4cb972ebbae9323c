package import Addressing
import Glibc
import Linux

/// What `warren-node` is told at start: places, and what the plugin is told.
package struct NodeConfiguration: Sendable {
    /// The plugin to install.
    package var plugin: String
    package var binFolder: String
    package var confFolder: String
    /// The one configuration to chain to; nil for the first by name.
    package var confName: String?
    /// The folder of the agent's socket and the plugin's store, on tmpfs.
    package var stateFolder: String
    /// Where the host's paths are looked up: empty, or `/proc/1/root` in a container that shares the host's process ids.
    package var hostRoot: String
    /// Health and metrics; nil for none.
    package var listen: Endpoint?
    /// Our plugin's entry in the conflist: a JSON object in one line.
    package var entry: String

    package init(
        plugin: String, binFolder: String = "/opt/cni/bin", confFolder: String = "/etc/cni/net.d",
        confName: String? = nil, stateFolder: String = "/run/warren", hostRoot: String = "", listen: Endpoint? = nil,
        entry: String
    ) {
        self.plugin = plugin
        self.binFolder = binFolder
        self.confFolder = confFolder
        self.confName = confName
        self.stateFolder = stateFolder
        self.hostRoot = hostRoot
        self.listen = listen
        self.entry = entry
    }

    /// The socket at which the plugin tells of attachments.
    package var agentSocket: String { Self.agentSocket(in: stateFolder) }
    /// The plugin's store.
    package var dataFolder: String { Self.dataFolder(in: stateFolder) }

    package static func agentSocket(in stateFolder: String) -> String { "\(stateFolder)/agent.sock" }
    package static func dataFolder(in stateFolder: String) -> String { "\(stateFolder)/cni" }

    func makeStateFolder() throws(SystemError) {
        let folder = stateFolder
        if unsafe mkdir(folder, 0o755) != 0, Errno.current != .exists {
            throw SystemError("make folder \(folder)", .current)
        }
    }
}
