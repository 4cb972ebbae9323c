import Addressing
import Timing

/// What is known of binding lifetimes in the network that we are in, by a path's tier, and in those that we were in before.
struct BindingLifetimes {
    private var current = Self.unknown
    private var network: IPAddress?
    private var others: [(network: IPAddress, lifetimes: [BindingLifetime])] = []
    /// The peer whose keepalives measure: one at a time, what it shows holds for all.
    private var measuring: [(peer: AgentID, until: MonotonicTime)?] = [nil, nil, nil]

    /// Networks that are remembered; at the limit the oldest gives way.
    private static let memory = 8
    private static let unknown = [BindingLifetime](repeating: BindingLifetime(), count: 3)

    subscript(tier: Int) -> BindingLifetime {
        get { current[tier] }
        set { current[tier] = newValue }
    }

    /// We are seen at this address now.
    mutating func enter(_ address: IPAddress) {
        guard address != network else { return }
        if let network {
            others.append((network, current))
            if others.count > Self.memory { others.removeFirst() }
            current = Self.unknown
        }
        network = address
        measuring = [nil, nil, nil]
        if let index = others.firstIndex(where: { $0.network == address }) {
            current = others.remove(at: index).lifetimes
        }
    }

    /// The silence that this peer's next keepalive is to come after; 0 for the usual.
    mutating func claim(_ tier: Int, by peer: AgentID, now: MonotonicTime) -> UInt16 {
        guard let step = current[tier].nextStep(now: now) else { return 0 }
        if let other = measuring[tier], other.peer != peer, other.until > now { return 0 }
        // Two silences, because the peer may have its own measured in between.
        measuring[tier] = (peer, now + .seconds(2 * UInt64(step) + 60))
        return step
    }
}
