import CNI
import Glibc
import Linux
import NodePorts
package import Timing

/// Takes the plugin off the node without breaking the deletion of any pod: the entry goes first, so that no new pod gets an
/// attachment; the binary stays while there are attachments, because their deletion runs it; what dead pods leave is freed
/// meanwhile.
package struct Removal: Sendable {
    package enum Outcome: Hashable, Sendable {
        case complete
        /// The entry is out; these attachments still need the binary.
        case pending(attachments: Int)
    }

    private let configuration: NodeConfiguration
    private let log: NodeLog

    package init(_ configuration: NodeConfiguration, log: NodeLog) {
        self.configuration = configuration
        self.log = log
    }

    /// - Parameter patience: how long to wait for the last attachment to go.
    package func run(patience: Interval) throws -> Outcome {
        // A running agent would put the entry back.
        if AgentNotice.isAgentPresent(at: configuration.agentSocket) {
            try AgentNotice.withdraw.send(to: configuration.agentSocket, seconds: 15)
        }
        let installer = Installer(configuration)
        for file in try installer.withdraw() { log("took our entry out of \(file)") }
        let deadline = MonotonicTime.now() + patience
        while true {
            let count = try attachments()
            if count == 0 {
                // Pods' elements are gone with them; the table and its rules are the node's.
                try PortMap(dataDir: configuration.dataFolder).removeAll()
                try installer.removeBinary()
                log("removed \(installer.binary.path)")
                return .complete
            }
            if MonotonicTime.now() >= deadline { return .pending(attachments: count) }
            usleep(500_000)
        }
    }

    /// Those that are left when what dead pods left is freed. A record that can't be read counts.
    private func attachments() throws -> Int {
        let reconciler = Reconciler(dataDir: configuration.dataFolder, root: configuration.hostRoot)
        for fault in reconciler.run(now: WallTime.now().seconds).faults { log(fault) }
        let folder = AttachmentFolder(dataDir: configuration.dataFolder)
        return try folder.networks().reduce(0) { try $0 + folder.holders(in: $1).count }
    }
}
