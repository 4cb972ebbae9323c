package import Addressing
package import Timing

/// Which relays an agent keeps: a home, where others reach it, and a warm second; and those that others are at, while they are
/// talked to. A state machine over one `RelayUplink` for each relay in use.
///
/// The mesh's order is the order of preference. Home moves at once when it goes silent or down, back only after the better
/// relay has been up for a while, and when the relay says that it ends, at a moment drawn from the time it gives: agents then
/// do not all arrive at once. Not safe for concurrent use.
package struct RelayHomes: Sendable {
    package struct Target: Sendable {
        package var id: AgentID
        package var endpoint: Endpoint
        package var transports: Set<RelayTransport>

        package init(id: AgentID, endpoint: Endpoint, transports: Set<RelayTransport>) {
            self.id = id
            self.endpoint = endpoint
            self.transports = transports
        }
    }

    package struct Configuration: Sendable {
        /// How many relays are kept: the home and the warm ones.
        package var warm = 2
        /// How long the first choice may take longer than the second at the start.
        package var preference = Interval.milliseconds(250)
        /// How long a better relay must have been up before home moves back to it.
        package var stable = Interval.seconds(60)
        /// How long a relay that is asked for the first time may take before the next is asked too.
        package var grace = Interval.seconds(1)
        /// An uplink to another's relay ends after this long without use.
        package var unused = Interval.seconds(120)
        package var uplink = RelayUplink.Configuration()

        package init() {}
    }

    package enum Event: Equatable, Sendable {
        /// Announce these, best first; empty while there is none.
        case homes([Int])
        /// Something about relay `index`.
        case relay(Int, RelayUplink.Event)
    }

    struct Slot: Sendable {
        var uplink: RelayUplink?
        var isUp = false
        var opened = MonotonicTime.zero
        var upSince = MonotonicTime.never
        var lastDown: MonotonicTime?
        var lastWanted: MonotonicTime?
        /// When to leave: the relay ends.
        var leaveAt = MonotonicTime.never
        /// Until when a relay that ends is not chosen.
        var shunnedUntil = MonotonicTime.zero
    }

    package let targets: [Target]
    /// The relays that others are to reach us at, best first.
    package internal(set) var homes: [Int] = []
    var events: [Event] = []
    var actions: [(relay: Int, action: RelayUplink.Action)] = []
    /// When time alone changes something.
    var nextReview = MonotonicTime.never
    let configuration: Configuration
    let identity: RelayClient.Identity
    var credential: [UInt8]
    /// Transports that did not work lately, at any relay.
    var blocked: Set<RelayTransport>
    var slots: [Slot]
    let started: MonotonicTime

    /// Begins with the first relays of `targets`, which has at most 255.
    package init(
        _ targets: [Target], identity: RelayClient.Identity, credential: [UInt8], blocked: Set<RelayTransport> = [],
        _ configuration: Configuration = Configuration(), now: MonotonicTime
    ) {
        self.targets = targets
        self.identity = identity
        self.credential = credential
        self.blocked = blocked
        self.configuration = configuration
        slots = Array(repeating: Slot(), count: targets.count)
        started = now
        review(now: now)
    }

    /// How many relays are kept when there are as many.
    package var warm: Int { configuration.warm }

    package func uplink(_ index: Int) -> RelayUplink? { slots.indices.contains(index) ? slots[index].uplink : nil }

    /// Whether relay `index` can be sent through with hope.
    package func isUsable(_ index: Int) -> Bool {
        slots.indices.contains(index) && slots[index].isUp && slots[index].uplink?.isSuspect == false
    }

    /// The relay to reach an agent through that is at `relays`, its best first: the first that is usable; else the first that
    /// is up. An uplink to the first is opened if there is none.
    package mutating func route(to relays: [Int], now: MonotonicTime) -> Int? {
        let known = relays.filter(slots.indices.contains)
        if let first = known.first { want(first, now: now) }
        let choice = known.first(where: isUsable) ?? known.first { slots[$0].isUp }
        if let choice { slots[choice].lastWanted = now }
        return choice
    }

    /// Opens an uplink to relay `index`, or keeps it.
    package mutating func want(_ index: Int, now: MonotonicTime) {
        slots[index].lastWanted = now
        open(index, now: now)
    }

    /// Asks every relay in use at once whether it still knows us: who shares a process with the hub has begun anew with it, and
    /// an agent that sends nothing there would be unreachable by it until its next keepalive.
    package mutating func doubt(now: MonotonicTime) {
        for index in slots.indices { slots[index].uplink?.doubt(now: now) }
    }

    /// Takes what came of the calls since the last time: what to do for each relay, in order.
    package mutating func takeActions() -> [(relay: Int, action: RelayUplink.Action)] {
        defer { actions = [] }
        return actions
    }

    package mutating func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }

    /// When `poll` has something to do.
    package var nextTimer: MonotonicTime {
        var next = nextReview
        for slot in slots { next = min(next, slot.leaveAt, slot.uplink?.nextTimer ?? .never) }
        return next
    }
}
