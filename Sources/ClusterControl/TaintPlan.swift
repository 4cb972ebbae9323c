package import Timing

/// Which nodes are to have our taint, by what the kubelets say of the node agents' pods. Time is a parameter.
///
/// A node agent says nothing itself, and so needs no right in the API at all: that its pod is ready is known by the
/// kubelet, which asks the agent's /healthz.
package struct TaintPlan: Sendable {
    /// How long an agent that was ready may be away, as in a rolling update, before its node is tainted: the plugin works on.
    package static let grace = Interval.seconds(60)

    /// How things stand with a node.
    enum State: String, CaseIterable, Sendable {
        case ready
        /// Its agent was ready a moment ago.
        case leaving = "not-ready-for-a-moment"
        case notReady = "not-ready"
    }

    private var lastReady: [String: MonotonicTime] = [:]

    package init() {}

    struct Decision: Equatable, Sendable {
        var taint: [String] = []
        var untaint: [String] = []
        /// Nodes that would be tainted but are not, as there are too many.
        var spared: [String] = []
        /// When something may have to be decided without anything happening.
        var next = MonotonicTime.never
        var states: [String: State] = [:]
    }

    /// - Parameters:
    ///   - nodes: those that are to have an agent; others lose our taint.
    ///   - readyNodes: those whose agent is ready.
    ///   - hasAgents: whether there is any node agent: without one, Warren is being removed, or looked for by a wrong label.
    ///   - share: how many of the nodes are tainted at most, in percent.
    mutating func decide(
        nodes: [String: Bool], others: [String: Bool], readyNodes: Set<String>, hasAgents: Bool, share: Int,
        now: MonotonicTime
    ) -> Decision {
        var decision = Decision()
        decision.untaint = others.filter(\.value).keys.sorted()
        guard hasAgents else {
            decision.untaint += nodes.filter(\.value).keys.sorted()
            return decision
        }
        lastReady = lastReady.filter { nodes[$0.key] != nil }
        for name in readyNodes where nodes[name] != nil { lastReady[name] = now }
        var wanted: [String] = []
        for (name, isTainted) in nodes.sorted(by: { $0.key < $1.key }) {
            if readyNodes.contains(name) {
                decision.states[name] = .ready
                if isTainted { decision.untaint.append(name) }
            } else if let last = lastReady[name], now < last + Self.grace, !isTainted {
                decision.states[name] = .leaving
                decision.next = min(decision.next, last + Self.grace)
            } else {
                decision.states[name] = .notReady
                if !isTainted { wanted.append(name) }
            }
        }
        let tainted = nodes.count { decision.states[$0.key] == .notReady && $0.value }
        let room = max(1, nodes.count * share / 100) - tainted
        decision.taint = Array(wanted.prefix(max(0, room)))
        decision.spared = Array(wanted.dropFirst(max(0, room)))
        return decision
    }
}
