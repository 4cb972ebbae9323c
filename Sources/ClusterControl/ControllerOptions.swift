/// What the controller is told.
package struct ControllerOptions: Sendable {
    /// A label and its value, as `app.kubernetes.io/name=warren-node`.
    package struct Label: Equatable, Sendable, CustomStringConvertible {
        package let key: String
        package let value: String

        package init?(_ text: String) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else { return nil }
            key = String(parts[0])
            value = String(parts[1])
        }

        package var description: String { "\(key)=\(value)" }
    }

    /// The namespace of the node agents, and of the controller's Lease.
    package var namespace: String
    /// Who this replica is, among those that want to lead.
    package var identity: String
    /// Which pods of the namespace are node agents.
    package var agents = Label("app.kubernetes.io/name=warren-node")!
    /// Which nodes have a node agent: as the DaemonSet's nodeSelector.
    package var nodes: [Label] = [Label("kubernetes.io/os=linux")!]
    /// How many of the nodes are tainted at most, in percent: when more fail it is not the nodes.
    package var taintShare = 50
    /// How many pods are evicted in a minute at most; 0 for none ever.
    package var evictionsPerMinute: UInt64 = 10
    /// How many pods of one owner are on their way at once at most, in percent; one at least.
    package var evictionShare = 25
    /// Say and count what would be done, and do nothing.
    package var isDryRun = false

    package init(namespace: String, identity: String) {
        self.namespace = namespace
        self.identity = identity
    }
}
