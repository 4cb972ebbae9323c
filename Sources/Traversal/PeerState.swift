import Addressing
import Timing

/// How one peer can be reached, and how it is reached now: relay first, a better path only by a verified probe.
///
/// Owned by `Engine` and its thread.
final class PeerState {
    /// A place we may send probes to.
    struct Remote {
        var kind: Candidate.Kind
        var route: Route
        var roundTrip: RoundTrip?
        var lastPing: MonotonicTime?
        /// Whether the peer was heard from there.
        var wasHeard = false
        /// How often in a row it was better than the path in use.
        var betterSamples = 0

        init(_ kind: Candidate.Kind, _ route: Route) {
            self.kind = kind
            self.route = route
        }

        /// Lower is better: a private network that both are in, IPv6, IPv4.
        var tier: Int { route.remote.address.isPrivate ? 0 : route.remote.address.isIPv6 ? 1 : Self.worstTier }

        static let worstTier = 2
    }

    struct Ping {
        let transaction: UInt64
        let way: Way
        let sent: MonotonicTime
        /// The size of the inner packet that it stands for, when it measures what the path carries.
        let measures: Int?
        /// Whether it went by the path in use.
        let isInUse: Bool
    }

    /// The direct path in use.
    struct Direct {
        let route: Route
        var tier: Int
        var roundTrip: RoundTrip
        let established: MonotonicTime
        /// When something authentic last came in on it, and when a packet last went over it either way.
        var heard: MonotonicTime
        var lastTraffic: MonotonicTime
    }

    /// A socket that we use no more, or that the peer got through to when another was ours already: it may go on sending there.
    struct Retired {
        let socket: SocketID
        var until: MonotonicTime
        /// When the peer's data or keepalives last came in on it.
        var carried: MonotonicTime?
    }

    let id: AgentID
    var seal: ProbeSeal
    /// Relays that reach the peer, the best first.
    var relays: [Path]
    var relayIndex = 0
    /// What the tunnel was told last.
    var published: Path?
    var limitPublished: Int?

    // What the peer told.
    var remotes: [Remote] = []
    var behavior = NATBehavior()
    var relayTrip: Interval?
    var extraSockets = 0
    var bindingSeconds: UInt16 = 0
    var nextPort: (port: UInt16, at: MonotonicTime)?
    var wasCalled = false

    var direct: Direct?
    /// Since when the direct path is not trusted with data.
    var degradedSince: MonotonicTime?
    /// When it is asked again while it is not trusted.
    var nextRescue = MonotonicTime.never
    /// When it last came back, and before when it does not: it came and went.
    var recovered: MonotonicTime?
    var distrustedUntil = MonotonicTime.zero
    var relayRoundTrips: [Path: RoundTrip] = [:]
    var pings: [Ping] = []

    // When data last went to the peer, and when data last came from it on any path. Probes do not count: two ends that have
    // nothing to say must not keep each other up.
    var lastSent: MonotonicTime
    var lastHeard: MonotonicTime
    /// When data was sent on the path in use that nothing has answered since.
    var awaitingSince: MonotonicTime?
    var suspicions = 0
    /// How often in a row no path answered.
    var strikes = 0
    var nextWatch = MonotonicTime.never

    var search = Search()
    var punch: Punch?
    var openAt = MonotonicTime.never
    @Seldom var opening: OpeningState?
    @Seldom var spray: SprayState?
    var lastLargeSpray: MonotonicTime?
    var nextPortSampler: SocketID?
    var retired: [Retired] = []
    var comparisons = 0
    var nextComparison = MonotonicTime.never
    @Seldom var mtu: PathMTU?
    var keeping = Keeping()

    var pingBudget: TokenBucket
    var callBudget: TokenBucket
    var namingBudget: TokenBucket
    var sprayBudget: TokenBucket

    init(id: AgentID, seal: consuming ProbeSeal, relays: [Path], now: MonotonicTime) {
        self.id = id
        self.seal = seal
        self.relays = relays
        lastSent = now
        lastHeard = now
        search.nextCall = now
        pingBudget = TokenBucket(full: Limits.pings, now: now)
        callBudget = TokenBucket(full: Limits.calls, now: now)
        namingBudget = TokenBucket(full: Limits.naming, now: now)
        sprayBudget = TokenBucket(full: Limits.pairSpray, now: now)
    }

    var relay: Path? { relays.isEmpty ? nil : relays[min(relayIndex, relays.count - 1)] }

    /// The path in use brought something. While data goes on, what comes after it is waited for.
    func trust(now: MonotonicTime, patience: Interval) {
        let isSending = now.since(lastSent) < Limits.sendingWithin
        awaitingSince = isSending ? now : nil
        nextWatch = isSending ? now + patience : .never
        suspicions = 0
        strikes = 0
    }

    var needsDirect: Bool { direct == nil || degradedSince != nil }

    /// Whether data goes over the direct path.
    var usesDirect: Bool { direct != nil && degradedSince == nil && !keeping.isDormant }

    func isActive(_ now: MonotonicTime) -> Bool { now.since(max(lastSent, lastHeard)) < Limits.activeWithin }

    var deadline: MonotonicTime {
        var deadline = min(search.nextCall, nextWatch, nextRescue, openAt, nextComparison)
        if let punch { deadline = min(deadline, punch.next) }
        if let opening { deadline = min(deadline, opening.next) }
        if let spray { deadline = min(deadline, spray.next) }
        if let mtu { deadline = min(deadline, mtu.next) }
        deadline = min(deadline, keeping.next)
        for socket in retired { deadline = min(deadline, socket.until) }
        return deadline
    }

    // MARK: Candidates

    /// The index of a place that proved itself or was just named: at the limit it takes the place of one that was only
    /// named, else of the oldest.
    func learned(_ kind: Candidate.Kind, _ route: Route) -> Int {
        if let index = remotes.firstIndex(where: { $0.route == route }) { return index }
        if remotes.count >= Limits.candidates {
            let victim =
                remotes.firstIndex { $0.roundTrip == nil && $0.route != direct?.route }
                ?? remotes.firstIndex { $0.route != direct?.route }
            if let victim { remotes.remove(at: victim) }
        }
        remotes.append(Remote(kind, route))
        return remotes.count - 1
    }

    /// What the peer names now takes the place of what it named before, as far as new places are allowed it. The path in use
    /// stays, and so do places that proved themselves, as far as there is room. Returns how many were not allowed.
    func setNamed(_ named: [Remote], now: MonotonicTime) -> Int {
        let known = remotes
        remotes = known.filter { $0.route == direct?.route }
        var refused = 0
        for remote in named where !remotes.contains(where: { $0.route == remote.route }) {
            if var old = known.first(where: { $0.route == remote.route }) {
                old.kind = remote.kind
                remotes.append(old)
            } else if remotes.count < Limits.candidates, namingBudget.take(10, limit: Limits.naming, now: now) {
                remotes.append(remote)
            } else {
                refused += 1
            }
        }
        let others = known.filter { old in !remotes.contains { $0.route == old.route } }
        remotes += others.filter { $0.roundTrip != nil || $0.kind == .peerReflexive }.suffix(
            max(Limits.candidates - remotes.count, 0))
        // Places that could not be replaced yet are still the best there is.
        if refused > 0 {
            remotes += others.filter { old in !remotes.contains { $0.route == old.route } }.suffix(
                max(Limits.candidates - remotes.count, 0))
        }
        return refused
    }

    /// Where the peer's NAT lets its packets out, as far as it said.
    var reflexive: [Endpoint] {
        remotes.filter { remote in
            remote.route.socket == .homeIPv4
                && (remote.kind == .serverReflexive || remote.kind == .nodeMapped
                    || remote.kind == .host && !remote.route.remote.address.isPrivate)
        }.map(\.route.remote)
    }

    /// Whether its NAT has several addresses.
    var isPooled: Bool {
        let seen = remotes.filter { $0.kind == .serverReflexive && $0.route.socket == .homeIPv4 }
        return seen.contains { $0.route.remote.address != seen[0].route.remote.address }
    }
}

/// When the peer is called.
struct Search {
    var nextCall = MonotonicTime.never
    /// Calls that went unanswered, and attempts that were answered and found nothing.
    var unanswered = 0
    var attempts = 0
    var started: MonotonicTime?
    /// When the call went out that has no answer yet.
    var asked: MonotonicTime?
}

/// Rounds of pings from an agreed time on.
struct Punch {
    /// Rounds to places where nothing can go wrong, and to those behind a NAT, which must not hear us too early.
    var quick: Rounds
    var careful: Rounds
    /// When something is wrong if nothing was answered: then, and as long as nothing is.
    var escapeAt = MonotonicTime.never
    var escapeSpacing = Interval.zero
    var escapes = 0
    let began: MonotonicTime
    /// We are direct, and the peer said that it is not.
    var helpsPeer = false

    var next: MonotonicTime { min(quick.next, careful.next, escapeAt) }

    /// Rounds to what was just learned.
    init(now: MonotonicTime) {
        quick = Rounds(at: now)
        careful = Rounds(at: .never)
        began = now
    }

    struct Rounds {
        let start: MonotonicTime
        private(set) var index = 0

        init(at start: MonotonicTime) { self.start = start }

        var next: MonotonicTime { index < Limits.rounds.count ? start + Limits.rounds[index] : .never }

        mutating func advance(past now: MonotonicTime) {
            while next <= now { index += 1 }
        }

        mutating func stop() { index = Limits.rounds.count }
    }
}
