import Addressing

/// What two agents do beside plain simultaneous opening, decided by both in the same way from both NATs' behaviour.
///
/// One opens: from sockets of its own it sends to where the other will come from, so that its NAT lets the other in at
/// ports that neither knows exactly. Then the other sprays: it sends to the ports that are possible.
struct PunchPlan: Equatable {
    enum Role: Equatable {
        /// Plain simultaneous opening does it, or nothing does.
        case none
        case opens(Opening)
        case sprays(Spray)
    }

    /// What the opening side sends to.
    struct Opening: Equatable {
        enum Kind: Equatable {
            /// One socket each; the sequential NAT's port is measured before and after.
            case sequential
            /// Some ports of the block.
            case block(ClosedRange<UInt16>)
            /// Any ports: with 256 sockets one of 1,088 probes hits with a probability of 98.7% (the birthday problem).
            case random
        }

        enum Target: Equatable {
            /// The other side's server-reflexive candidates.
            case reflexive
            /// From the port that the other's sequential NAT gives next: `count` ports, `step` apart.
            case ahead(step: UInt16, count: Int)
            /// Every port of the other's block.
            case block(ClosedRange<UInt16>)
        }

        var kind: Kind
        var sockets: Int
        var target: Target
    }

    struct Spray: Equatable {
        /// From how many sockets each port is sent to.
        var sockets: Int
        /// The opening side needs to know the next port of our sequential NAT first.
        var tellsNextPort: Bool
    }

    var role: Role
    /// Whether plain opening can't do it, as far as both filters are known: no time to lose.
    var isCertain: Bool

    static let none = PunchPlan(role: .none, isCertain: true)

    /// - Parameter isLower: whether our id is lower than the peer's, where either could do either.
    init(local: NATBehavior, remote: NATBehavior, isLower: Bool) {
        let isKnown = local.filtering != .unknown && remote.filtering != .unknown
        self.init(role: Self.role(local, remote, isLower), isCertain: isKnown)
    }

    private init(role: Role, isCertain: Bool) {
        self.role = role
        self.isCertain = isCertain
    }

    private static func role(_ local: NATBehavior, _ remote: NATBehavior, _ isLower: Bool) -> Role {
        let behaviors = [local, remote]
        guard behaviors.allSatisfy({ $0.hasOneMapping || $0.hasManyMappings }),
            !behaviors.allSatisfy(\.hasOneMapping),
            !behaviors.contains(where: { $0.filtering == .endpointIndependent })
        else { return .none }
        if local.hasOneMapping {
            return local.filtering == .addressDependent ? .none : .sprays(Spray(sockets: 1, tellsNextPort: false))
        }
        if remote.hasOneMapping {
            return remote.filtering == .addressDependent ? .none : opens(local, .reflexive)
        }
        return between(local, remote, isLower)
    }

    /// Both NATs give each destination another mapping.
    private static func between(_ local: NATBehavior, _ remote: NATBehavior, _ isLower: Bool) -> Role {
        let (localIsOpen, remoteIsOpen) = (!local.filtersByPort, !remote.filtersByPort)
        if localIsOpen || remoteIsOpen {
            // Whatever port the other comes from, one whose filter looks at addresses only lets it in.
            let isOpener =
                localIsOpen && remoteIsOpen
                ? (effort(local), isLower ? 0 : 1) < (effort(remote), isLower ? 1 : 0) : localIsOpen
            return isOpener ? opens(local, .reflexive) : .sprays(Spray(sockets: 1, tellsNextPort: false))
        }
        switch (local.allocation, remote.allocation) {
        case (.sequential, .sequential(let step)):
            return isLower
                ? .opens(Opening(kind: .sequential, sockets: 1, target: .ahead(step: doubled(step), count: 16)))
                : .sprays(Spray(sockets: 1, tellsNextPort: true))
        case (.sequential, .block(let ports)) where isPlausible(ports):
            return .opens(Opening(kind: .sequential, sockets: 1, target: .block(reach(ports))))
        case (.block(let ports), .sequential) where isPlausible(ports):
            return .sprays(Spray(sockets: sockets(for: reach(ports), atMost: 5), tellsNextPort: false))
        case (.block(let ports), .block(let others)) where isPlausible(ports) && isPlausible(others):
            let (ports, others) = (reach(ports), reach(others))
            return isLower
                ? .opens(Opening(kind: .block(ports), sockets: sockets(for: others, atMost: 3), target: .block(others)))
                : .sprays(Spray(sockets: sockets(for: others, atMost: 3), tellsNextPort: false))
        default: return .none
        }
    }

    private static func opens(_ local: NATBehavior, _ target: Opening.Target) -> Role {
        switch local.allocation {
        case .sequential: .opens(Opening(kind: .sequential, sockets: 1, target: target))
        case .block(let ports):
            .opens(Opening(kind: .block(ports), sockets: min(max(ports.count / 4, 4), 64), target: target))
        default: .opens(Opening(kind: .random, sockets: 256, target: target))
        }
    }

    private static func effort(_ behavior: NATBehavior) -> Int {
        switch behavior.allocation {
        case .sequential: 0
        case .block: 1
        default: 2
        }
    }

    private static func doubled(_ step: UInt16) -> UInt16 { step > .max / 2 ? .max : step * 2 }

    /// No more than a thousand ports, and what an estimate adds to them: a sixth on both sides. Who says more is not believed.
    private static func isPlausible(_ ports: ClosedRange<UInt16>) -> Bool { ports.count <= 1400 }

    /// As much of a block as one spray gets to: what is estimated is wider than what is, by as much on both sides.
    private static func reach(_ ports: ClosedRange<UInt16>) -> ClosedRange<UInt16> {
        let excess = UInt16(max(ports.count - Limits.sprayProbes, 0))
        return ports.lowerBound + excess / 2...ports.upperBound - (excess - excess / 2)
    }

    /// How many sockets send to each of so many ports, within the budget of one spray.
    private static func sockets(for ports: ClosedRange<UInt16>, atMost limit: Int) -> Int {
        min(max(Limits.sprayProbes / ports.count, 1), limit)
    }
}
