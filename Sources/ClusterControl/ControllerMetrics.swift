package import Metrics
import Synchronization

/// What the controller counts. Safe from any task.
package final class ControllerMetrics: Sendable {
    struct State: Sendable {
        var isLeader = false
        var nodes: [TaintPlan.State: Int] = [:]
        var taints: [String: UInt64] = [:]
        var spared = 0
        var unprotected = 0
        var evictions: [String: UInt64] = [:]
        var errors: UInt64 = 0
    }

    private let state = Mutex(State())

    package init() {}

    func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }

    package func write(to page: inout Exposition) {
        let state = state.withLock { $0 }
        var own = Exposition(prefix: "warren_controller_")
        own.gauge("leader", "Whether this replica is the one that acts.", isTrue: state.isLeader)
        own.gauge(
            "nodes", "Nodes that are to have a node agent, by how it is; told by the one that acts.", by: "state",
            TaintPlan.State.allCases.map { ($0.rawValue, state.nodes[$0] ?? 0) })
        own.counter(
            "taints_total", "Taints of nodes.", by: "action",
            ["set", "removed", "dry-run"].map { ($0, state.taints[$0] ?? 0) })
        own.gauge("nodes_spared", "Nodes not tainted because too many would be.", state.spared)
        own.gauge("unprotected_pods", "Pods that ask to be agents and are none.", state.unprotected)
        own.counter(
            "evictions_total", "Evictions of unprotected pods.", by: "result",
            ["evicted", "refused", "failed", "dry-run"].map { ($0, state.evictions[$0] ?? 0) })
        own.counter("api_errors_total", "Calls of the API server that failed.", state.errors)
        page.append(own)
    }
}
