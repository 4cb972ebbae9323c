import Addressing
import Timing

/// One proven agent at one endpoint.
struct Registration: Sendable {
    var agent: AgentID
    var endpoint: Endpoint
    /// 1…255; another one for each change of endpoint, so that what is still under way from the old one is told apart.
    var epoch: UInt8
    /// The time in the cookie that it was proven with.
    var proven: MonotonicTime
    /// It ends when nothing was heard for a lifetime, and with the credential.
    var idleDeadline: MonotonicTime
    var credentialExpiry: MonotonicTime
    var packets: TokenBucket
    var bytes: TokenBucket
    var pings: TokenBucket
    var errors: TokenBucket

    func isLive(at now: MonotonicTime) -> Bool { now < idleDeadline && now < credentialExpiry }
}

/// The registrations of a relay, at most `capacity`: found by agent id and by endpoint, each in one hash lookup.
///
/// Invariant: both indices hold exactly the slots in use. Memory for all slots is taken at the start.
struct RegistrationTable: Sendable {
    private let capacity: Int
    private var slots: ContiguousArray<Registration> = []
    private var free: [Int] = []
    private var byAgent: [AgentID: Int] = [:]
    private var byEndpoint: [Endpoint: Int] = [:]

    init(capacity: Int) {
        self.capacity = capacity
        slots.reserveCapacity(capacity)
        byAgent.reserveCapacity(capacity)
        byEndpoint.reserveCapacity(capacity)
    }

    var count: Int { byAgent.count }
    var agents: some Collection<AgentID> { byAgent.keys }

    func slot(of agent: AgentID) -> Int? { byAgent[agent] }
    func slot(at endpoint: Endpoint) -> Int? { byEndpoint[endpoint] }

    /// The registration in a slot in use. Change its id or endpoint by `insert` only.
    subscript(slot: Int) -> Registration {
        get { slots[slot] }
        _modify { yield &slots[slot] }
    }

    /// Stores `registration` in place of those that its agent and its endpoint had; false when there is no room.
    mutating func insert(_ registration: Registration) -> Bool {
        let replaces = byAgent[registration.agent] != nil || byEndpoint[registration.endpoint] != nil
        guard replaces || count < capacity else { return false }
        if let slot = byAgent[registration.agent] { remove(slot) }
        if let slot = byEndpoint[registration.endpoint] { remove(slot) }
        let slot: Int
        if let reused = free.popLast() {
            slot = reused
            slots[slot] = registration
        } else {
            slot = slots.count
            slots.append(registration)
        }
        byAgent[registration.agent] = slot
        byEndpoint[registration.endpoint] = slot
        return true
    }

    mutating func remove(_ slot: Int) {
        byAgent[slots[slot].agent] = nil
        byEndpoint[slots[slot].endpoint] = nil
        free.append(slot)
    }

    /// Removes what has ended by `now`; returns how many.
    mutating func expire(now: MonotonicTime) -> Int {
        let ended = byAgent.values.filter { !slots[$0].isLive(at: now) }
        for slot in ended { remove(slot) }
        return ended.count
    }

    /// For tests: whether the invariant holds.
    var isConsistent: Bool {
        byAgent.count == byEndpoint.count && byAgent.count + free.count == slots.count && slots.count <= capacity
            && byAgent.allSatisfy {
                slots[$0.value].agent == $0.key && byEndpoint[slots[$0.value].endpoint] == $0.value
            }
    }
}
