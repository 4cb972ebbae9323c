import Addressing
import Timing

/// One proven agent on one link.
struct Registration: Sendable {
    var agent: AgentID
    var link: RelayLink
    /// 1…255; another one for each change of link, so that what is still under way from the old one is told apart.
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

/// The registrations of a relay, at most `capacity`: found by agent id and by link, each in one hash lookup.
///
/// Invariant: both indices hold exactly the slots in use. Memory for all slots is taken at the start.
struct RegistrationTable: Sendable {
    private let capacity: Int
    private var slots: ContiguousArray<Registration> = []
    private var free: [Int] = []
    private var byAgent: [AgentID: Int] = [:]
    private var byLink: [RelayLink: Int] = [:]
    /// Counts changes of what is found: whoever remembers a slot compares it.
    private(set) var generation: UInt64 = 1
    /// Streams whose registration has ended: to be closed.
    var endedStreams: [UInt64] = []

    init(capacity: Int) {
        self.capacity = capacity
        slots.reserveCapacity(capacity)
        byAgent.reserveCapacity(capacity)
        byLink.reserveCapacity(capacity)
    }

    var count: Int { byAgent.count }
    var agents: some Collection<AgentID> { byAgent.keys }

    func slot(of agent: AgentID) -> Int? { byAgent[agent] }
    func slot(at link: RelayLink) -> Int? { byLink[link] }

    /// The registration in a slot in use. Change its id or link by `insert` only.
    subscript(slot: Int) -> Registration {
        get { slots[slot] }
        _modify { yield &slots[slot] }
    }

    /// Stores `registration` in place of those that its agent and its link had; false when there is no room.
    mutating func insert(_ registration: Registration) -> Bool {
        let replaces = byAgent[registration.agent] != nil || byLink[registration.link] != nil
        guard replaces || count < capacity else { return false }
        if let slot = byAgent[registration.agent] { remove(slot, keeping: registration.link) }
        if let slot = byLink[registration.link] { remove(slot, keeping: registration.link) }
        let slot: Int
        if let reused = free.popLast() {
            slot = reused
            slots[slot] = registration
        } else {
            slot = slots.count
            slots.append(registration)
        }
        generation &+= 1
        byAgent[registration.agent] = slot
        byLink[registration.link] = slot
        return true
    }

    /// Frees the slot. Its stream has ended, unless it is `link`.
    mutating func remove(_ slot: Int, keeping link: RelayLink? = nil) {
        generation &+= 1
        let ended = slots[slot].link
        if ended.isStream, ended != link { endedStreams.append(ended.stream) }
        byAgent[slots[slot].agent] = nil
        byLink[slots[slot].link] = nil
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
        byAgent.count == byLink.count && byAgent.count + free.count == slots.count && slots.count <= capacity
            && byAgent.allSatisfy {
                slots[$0.value].agent == $0.key && byLink[slots[$0.value].link] == $0.value
            }
    }
}

/// The slots that were looked up last: datagrams come in runs of one sender and one receiver.
struct RecentSlots: Sendable {
    private var generation: UInt64 = 0
    private var sender: (link: RelayLink, slot: Int)?
    private var receiver: (agent: AgentID, slot: Int)?

    mutating func slot(at link: RelayLink, in table: RegistrationTable) -> Int? {
        renew(table.generation)
        if let sender, sender.link == link { return sender.slot }
        guard let slot = table.slot(at: link) else { return nil }
        sender = (link, slot)
        return slot
    }

    mutating func slot(of agent: AgentID, in table: RegistrationTable) -> Int? {
        renew(table.generation)
        if let receiver, receiver.agent == agent { return receiver.slot }
        guard let slot = table.slot(of: agent) else { return nil }
        receiver = (agent, slot)
        return slot
    }

    private mutating func renew(_ generation: UInt64) {
        guard self.generation != generation else { return }
        self.generation = generation
        (sender, receiver) = (nil, nil)
    }
}
