import Addressing
package import Timing

/// How one peer can be reached, and how it is reached now: relay first, a better path only by a verified probe.
///
/// The relay path is there from the start. A direct path exists once a pong came back on it, is kept open by pings, and
/// is given up for the relay when probes go unanswered while there is something to send. Owned by `Engine` and its thread.
final class PeerPaths {
    /// A place we may send probes to.
    struct Remote {
        var candidate: Candidate
        var socket: UInt8
        /// Outstanding ping transactions and when they were sent, newest last, at most 8.
        var pings: [(transaction: UInt64, sent: MonotonicTime)] = []
        var roundTrip: Interval?
        var path: Path { .direct(socket: socket, candidate.endpoint) }
    }

    /// The direct path in use.
    struct Direct {
        var path: Path
        var roundTrip: Interval
        var established: MonotonicTime
        /// When an authenticated packet or pong last came in on it.
        var heard: MonotonicTime
        /// Pings since the last pong.
        var unanswered = 0
        var lastPing: MonotonicTime
        var nextPing: MonotonicTime
    }

    let id: AgentID
    var seal: ProbeSeal
    var relay: Path?
    var remotes: [Remote] = []
    var direct: Direct?
    /// When data last went to the peer, and when anything authenticated last came from it on any path.
    var lastSent: MonotonicTime = .zero
    var lastHeard: MonotonicTime = .zero
    /// When the next call goes out, and how many went out since the last success or loss.
    var nextCall: MonotonicTime
    var calls = 0
    /// When the next round of pings to all candidates goes out, and how many went out since the last call came in.
    var nextRound: MonotonicTime = .never
    var rounds = 0
    var budget: TokenBucket

    init(id: AgentID, seal: consuming ProbeSeal, relay: Path?, now: MonotonicTime) {
        self.id = id
        self.seal = seal
        self.relay = relay
        nextCall = now
        budget = TokenBucket(capacity: Limits.probesPerSecond, perSecond: Limits.probesPerSecond, now: now)
    }

    /// What the tunnel should send on.
    var current: Path? { direct?.path ?? relay }

    func isActive(_ now: MonotonicTime) -> Bool {
        now.since(max(lastSent, lastHeard)) < Limits.idleAfter
    }

    var deadline: MonotonicTime { min(nextCall, nextRound, direct?.nextPing ?? .never) }

    /// Starts looking for a direct path from the beginning.
    func restartSearch(_ now: MonotonicTime) {
        calls = 0
        nextCall = now
    }

    /// The remote of `endpoint`; made when the policy and the limit of candidates allow it.
    func remote(_ candidate: Candidate, socket: UInt8) -> Int? {
        if let index = remotes.firstIndex(where: { $0.candidate.endpoint == candidate.endpoint && $0.socket == socket })
        {
            return index
        }
        if remotes.count >= Limits.candidates {
            // A source that proved itself is worth more than one that was only named.
            guard candidate.kind == .peerReflexive,
                let victim = remotes.firstIndex(where: { $0.roundTrip == nil && $0.path != direct?.path })
            else { return nil }
            remotes.remove(at: victim)
        }
        remotes.append(Remote(candidate: candidate, socket: socket))
        return remotes.count - 1
    }
}

/// The engine's numbers: what it sends at most, and when.
package enum Limits {
    /// Candidates kept for a peer.
    package static let candidates = ProbeMessage.maximumCandidates
    /// Pings to a peer in a second, in all.
    package static let probesPerSecond: UInt64 = 16
    /// When a call is repeated until the peer's comes in; then the re-upgrade attempts of a relayed peer.
    static let callSpacing: [Interval] = [
        .milliseconds(250), .milliseconds(500), .seconds(1), .seconds(3), .seconds(10), .seconds(30), .seconds(60),
    ]
    static let callSpacingAtRest: Interval = .seconds(300)
    /// From the peer's call to each round of pings.
    static let roundSpacing: [Interval] = [
        .milliseconds(30), .milliseconds(70), .milliseconds(100), .milliseconds(200), .milliseconds(400),
        .milliseconds(800),
    ]
    /// A direct path that carries data is checked this often even when answers come in: they may come one way only.
    static let pingWhenActive: Interval = .seconds(5)
    /// And this long after the last thing heard on it, while we send.
    static let pingWhenSilent: Interval = .milliseconds(700)
    static let pingRetry: Interval = .milliseconds(400)
    /// Unanswered pings after which the relay takes over: few on a silent path, many on one that still brings data,
    /// because a full queue loses pings too.
    static let unansweredWhenSilent = 3
    static let unansweredWhenHeard = 12
    /// Below the 30 s that a plain conntrack NAT keeps an unreplied binding.
    static let pingWhenIdle: Interval = .seconds(20)
    /// After this long without data a path is no longer kept open.
    static let idleAfter: Interval = .seconds(600)
    /// How recent data must be to count as "while we send".
    static let sendingWithin: Interval = .seconds(2)
    /// A path must be this much better before it replaces one that works.
    static let betterBy: Interval = .milliseconds(10)
    static let pingTimeout: Interval = .seconds(5)
}

/// Tokens that refill with time: a rate with a burst.
package struct TokenBucket: Sendable {
    private let capacity: UInt64
    private let interval: UInt64
    private var tokens: UInt64
    private var updated: MonotonicTime

    package init(capacity: UInt64, perSecond: UInt64, now: MonotonicTime) {
        self.capacity = capacity
        interval = 1_000_000_000 / max(perSecond, 1)
        tokens = capacity
        updated = now
    }

    /// Whether a token was there; it is taken.
    package mutating func take(_ now: MonotonicTime) -> Bool {
        let earned = now.since(updated).nanoseconds / interval
        if earned > 0 {
            tokens = min(capacity, tokens + earned)
            updated = tokens == capacity ? now : updated + .nanoseconds(earned * interval)
        }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
