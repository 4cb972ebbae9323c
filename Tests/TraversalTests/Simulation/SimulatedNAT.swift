import TestSupport
import Timing

/// A NAT as connection tracking makes one: sessions of (inside, remote), and beside them tables that let more in.
///
/// Every class of RFC 4787 comes from three choices: which port a session wants, what of its traffic opens the outside port
/// for others, and what happens to packets that nothing expects. What an inbound packet opened is used for the reply; a
/// reply that would need a second session for the same two ends is lost, as in Linux.
final class SimulatedNAT {
    enum Mapping { case endpointIndependent, addressDependent, addressAndPortDependent }
    enum Filtering { case endpointIndependent, addressDependent, addressAndPortDependent }
    enum Allocation: Equatable {
        case preserving
        case rewritten
        /// Each next mapping is `step` on; others take ports in between, so many a second.
        case sequential(step: UInt64, othersPerSecond: Double)
        case block(first: UInt64, size: UInt64)
        case random
    }

    struct Kind {
        var mapping = Mapping.endpointIndependent
        var filtering = Filtering.addressAndPortDependent
        var allocation = Allocation.preserving
        /// Packets to the NAT itself are accepted, not dropped: their entry takes the port from a session that wants it.
        var acceptsInput = false
        var reusesInboundSessions = true
        var refreshesOnInbound = true
        var hairpins = false
        var unreplied = Interval.seconds(30)
        var replied = Interval.seconds(120)
        /// Outside addresses; more than one are used without regard to who sends.
        var poolSize: UInt64 = 1
        /// From one of them to the next.
        var poolSpacing: UInt64 = 1
        /// A firewall: everything but the translation.
        var translates = true
    }

    private struct Session {
        let outside: SimulatedAddress
        let began: MonotonicTime
        var expires: MonotonicTime
        var isReplied = false
    }

    private struct Entry {
        let inside: SimulatedAddress
        var expires: MonotonicTime
    }

    var kind: Kind
    /// The first of its outside addresses.
    private(set) var external: UInt64
    private var random: SeededRandom
    private var sessions: [SimulatedFlow: Session] = [:]
    private var byOutside: [SimulatedFlow: SimulatedAddress] = [:]
    /// Outside ports that anybody, or an address, may send to.
    private var open: [SimulatedFlow: Entry] = [:]
    /// Packets that the NAT accepted for itself.
    private var own: [SimulatedFlow: MonotonicTime] = [:]
    private var fixedPorts: [SimulatedFlow: UInt64] = [:]
    private var counter: UInt64
    private var counted = MonotonicTime.zero
    private(set) var sessionCount = 0
    /// What a node maps for a pod behind it: a port of its own, for whichever destination, and whoever sends there.
    var nodeMap: (inside: SimulatedAddress, port: UInt16)?

    init(_ kind: Kind, external: UInt64, seed: UInt64) {
        self.kind = kind
        self.external = external
        random = SeededRandom(seed: seed)
        counter = 1024 + random.below(60000)
    }

    static let nowhere = SimulatedAddress(0, 0)

    var addresses: [UInt64] { (0..<kind.poolSize).map { external + $0 * kind.poolSpacing } }

    func owns(_ address: UInt64) -> Bool {
        kind.translates && addresses.contains(address)
    }

    /// Forgets everything, as after a power cut; with another address as after a new dial-up.
    func reboot(external: UInt64? = nil) {
        sessions = [:]
        byOutside = [:]
        open = [:]
        own = [:]
        fixedPorts = [:]
        counter = 1024 + random.below(60000)
        if let external { self.external = external }
    }

    // MARK: Outbound

    /// The source that a packet leaves with.
    func outbound(_ inside: SimulatedAddress, to remote: SimulatedAddress, now: MonotonicTime) -> SimulatedAddress {
        let flow = SimulatedFlow(inside, remote)
        if var session = sessions[flow] {
            if session.expires > now {
                session.expires = now + lifetime(session, now)
                sessions[flow] = session
                letIn(inside, session.outside, remote, now)
                return session.outside
            }
            byOutside[SimulatedFlow(session.outside, remote)] = nil
        }
        let outside = allocate(inside, remote, now)
        sessions[flow] = Session(outside: outside, began: now, expires: now + kind.unreplied)
        byOutside[SimulatedFlow(outside, remote)] = inside
        sessionCount += 1
        letIn(inside, outside, remote, now)
        return outside
    }

    /// A session that has gone both ways and is two seconds old is a stream, as in Linux.
    private func lifetime(_ session: Session, _ now: MonotonicTime) -> Interval {
        session.isReplied && now.since(session.began) >= .seconds(2) ? kind.replied : kind.unreplied
    }

    /// What the filtering lets in because of a packet that went out.
    private func letIn(
        _ inside: SimulatedAddress, _ outside: SimulatedAddress, _ remote: SimulatedAddress, _ now: MonotonicTime
    ) {
        guard let key = filterKey(outside, remote) else { return }
        open[key] = Entry(inside: inside, expires: now + kind.replied)
    }

    private func filterKey(_ outside: SimulatedAddress, _ remote: SimulatedAddress) -> SimulatedFlow? {
        switch kind.filtering {
        case .endpointIndependent: SimulatedFlow(outside, Self.nowhere)
        case .addressDependent: SimulatedFlow(outside, SimulatedAddress(remote.address, 0))
        case .addressAndPortDependent: nil
        }
    }

    private func allocate(
        _ inside: SimulatedAddress, _ remote: SimulatedAddress, _ now: MonotonicTime
    ) -> SimulatedAddress {
        guard kind.translates else { return inside }
        if let nodeMap, nodeMap.inside == inside { return SimulatedAddress(external, nodeMap.port) }
        var address = external
        if kind.poolSize > 1 {
            address +=
                SeededRandom.hash(inside.address, remote.address, UInt64(remote.port)) % kind.poolSize
                * kind.poolSpacing
        }
        var port = wantedPort(inside, remote, now)
        for _ in 0..<64 {
            let outside = SimulatedAddress(address, UInt16(truncatingIfNeeded: port))
            if isFree(SimulatedFlow(outside, remote), now) { return outside }
            port = nextPort(after: port)
        }
        return SimulatedAddress(address, UInt16(truncatingIfNeeded: port))
    }

    private func isFree(_ key: SimulatedFlow, _ now: MonotonicTime) -> Bool {
        if let expiry = own[key], expiry > now { return false }
        guard let inside = byOutside[key] else { return true }
        return sessions[SimulatedFlow(inside, key.far)].map { $0.expires <= now } ?? true
    }

    private func wantedPort(_ inside: SimulatedAddress, _ remote: SimulatedAddress, _ now: MonotonicTime) -> UInt64 {
        let key: SimulatedFlow
        switch kind.mapping {
        case .endpointIndependent:
            if kind.allocation == .preserving { return UInt64(inside.port) }
            key = SimulatedFlow(inside, Self.nowhere)
        case .addressDependent: key = SimulatedFlow(inside, SimulatedAddress(remote.address, 0))
        case .addressAndPortDependent: return newPort(now)
        }
        if let port = fixedPorts[key] { return port }
        let port = newPort(now)
        fixedPorts[key] = port
        return port
    }

    private func newPort(_ now: MonotonicTime) -> UInt64 {
        switch kind.allocation {
        case .preserving, .rewritten, .random: return 1024 + random.below(64512)
        case .block(let first, let size): return first + random.below(size)
        case .sequential(let step, let othersPerSecond):
            // Exponential gaps, one flow after the other.
            let elapsed = now.since(counted).seconds
            var others: UInt64 = 0
            var left = min(elapsed, 60) * othersPerSecond
            while left > 0, others < 4096 {
                if left >= 1 || random.chance(left) { others += 1 }
                left -= 1
            }
            counted = now
            counter += step * (others + 1)
            while counter > 65535 { counter -= 64512 }
            return counter
        }
    }

    private func nextPort(after port: UInt64) -> UInt64 {
        switch kind.allocation {
        case .block(let first, let size): first + random.below(size)
        case .sequential(let step, _): port + step > 65535 ? 1024 : port + step
        default: 1024 + random.below(64512)
        }
    }

    // MARK: Inbound

    /// Who inside gets a packet; nil when it is dropped.
    func inbound(_ outside: SimulatedAddress, from remote: SimulatedAddress, now: MonotonicTime) -> SimulatedAddress? {
        let key = SimulatedFlow(outside, remote)
        if let inside = byOutside[key], var session = sessions[SimulatedFlow(inside, remote)], session.expires > now {
            if kind.refreshesOnInbound { session.expires = now + lifetime(session, now) }
            session.isReplied = true
            sessions[SimulatedFlow(inside, remote)] = session
            return inside
        }
        if let nodeMap, outside == SimulatedAddress(external, nodeMap.port) {
            return admit(nodeMap.inside, outside, remote, now)
        }
        if let filter = filterKey(outside, remote), let entry = open[filter], entry.expires > now {
            return admit(entry.inside, outside, remote, now)
        }
        if kind.acceptsInput { own[key] = now + .seconds(30) }
        return nil
    }

    private func admit(
        _ inside: SimulatedAddress, _ outside: SimulatedAddress, _ remote: SimulatedAddress, _ now: MonotonicTime
    ) -> SimulatedAddress? {
        guard kind.reusesInboundSessions else { return inside }
        let flow = SimulatedFlow(inside, remote)
        // The reply would have the same two ends as a session that goes out by another port.
        if let session = sessions[flow], session.expires > now, session.outside != outside { return nil }
        sessions[flow] = Session(outside: outside, began: now, expires: now + kind.unreplied)
        byOutside[SimulatedFlow(outside, remote)] = inside
        sessionCount += 1
        return inside
    }
}

extension SeededRandom {
    static func hash(_ values: UInt64...) -> UInt64 {
        var state: UInt64 = 7
        for value in values {
            var random = SeededRandom(seed: state ^ value)
            state = random.next()
        }
        return state
    }
}
