import Addressing
import Timing

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
    var direct: Direct? {
        didSet { agenda.note(direct?.nextPing ?? .never) }
    }
    /// When data last went to the peer, and when data last came from it on any path. Probes do not count: two ends that
    /// have nothing to say must not keep each other up.
    var lastSent: MonotonicTime = .zero
    var lastHeard: MonotonicTime = .zero
    /// When the next call goes out, and how many went out since the last success or loss.
    var nextCall: MonotonicTime {
        didSet { agenda.note(nextCall) }
    }
    var calls = 0
    var searchStarted: MonotonicTime?
    /// When the peer's candidates last replaced those before.
    var lastNamed: MonotonicTime?
    /// When the next round of pings to all candidates goes out, and how many went out since the last call came in.
    var nextRound: MonotonicTime = .never {
        didSet { agenda.note(nextRound) }
    }
    var rounds = 0
    var budget: TokenBucket
    /// How many more of the peer's calls are looked at now.
    var calledBudget: TokenBucket

    private let agenda: Agenda

    init(id: AgentID, seal: consuming ProbeSeal, relay: Path?, agenda: Agenda, now: MonotonicTime) {
        self.agenda = agenda
        self.id = id
        self.seal = seal
        self.relay = relay
        nextCall = now
        budget = TokenBucket(full: Limits.probes, now: now)
        calledBudget = TokenBucket(full: Limits.calls, now: now)
        agenda.note(nextCall)
    }

    /// What the tunnel should send on.
    var current: Path? { direct?.path ?? relay }

    func isActive(_ now: MonotonicTime) -> Bool {
        now.since(max(lastSent, lastHeard)) < Limits.idleAfter
    }

    var deadline: MonotonicTime { min(nextCall, nextRound, direct?.nextPing ?? .never) }

    /// Starts looking for a direct path from the beginning: now, or a while after the last beginning. A relay or STUN server
    /// that gives another address with each answer can't make us call all peers all the time.
    func restartSearch(_ now: MonotonicTime) {
        calls = 0
        nextCall = max(now, searchStarted.map { $0 + Limits.searchSpacing } ?? now)
    }

    /// What the peer names now takes the place of what it named before, at most every few seconds: before that it only fills
    /// the room that is left. The path in use stays, and so do sources that proved themselves, as far as there is room.
    func setNamed(_ named: [Remote], now: MonotonicTime) {
        let known = remotes
        if lastNamed.map({ now.since($0) >= Limits.namingSpacing }) ?? true {
            lastNamed = now
            remotes = known.filter { $0.path == direct?.path }
        }
        for remote in named where !remotes.contains(where: { $0.path == remote.path }) {
            guard remotes.count < Limits.candidates else { break }
            remotes.append(known.first { $0.path == remote.path } ?? remote)
        }
        let learned = known.filter { remote in
            remote.candidate.kind == .peerReflexive && !remotes.contains { $0.path == remote.path }
        }
        remotes += learned.suffix(max(Limits.candidates - remotes.count, 0))
    }

    /// The index of a source that proved itself: at the limit it takes the place of one that was only named, else of the
    /// oldest.
    func learned(_ remote: Remote) -> Int {
        if let index = remotes.firstIndex(where: { $0.path == remote.path }) { return index }
        if remotes.count >= Limits.candidates {
            let victim =
                remotes.firstIndex { $0.roundTrip == nil && $0.path != direct?.path }
                ?? remotes.firstIndex { $0.path != direct?.path }
            if let victim { remotes.remove(at: victim) }
        }
        remotes.append(remote)
        return remotes.count - 1
    }
}

/// The engine's numbers: what it sends at most, and when.
package enum Limits {
    /// Candidates kept for a peer.
    package static let candidates = ProbeMessage.maximumCandidates
    /// Pings to a peer in a second, in all.
    package static let probesPerSecond: UInt64 = 16
    static let probes = TokenBucket.Limit(perSecond: probesPerSecond, burst: probesPerSecond)
    /// Calls of a peer that are answered.
    static let calls = TokenBucket.Limit(perSecond: 2, burst: 8)
    /// Between the beginnings of two searches.
    static let searchSpacing: Interval = .seconds(3)
    /// Between two changes of the candidates that a peer names: it can't have us probe ever new places.
    static let namingSpacing: Interval = .seconds(5)
    /// A path in use for less than this gives way only when it is silent.
    static let settledAfter: Interval = .seconds(5)
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

/// When the first of all peers has something due, so that a turn of the packet loop costs the same however many peers
/// there are. May be early, never late: timers that move back are found out at the next tick.
final class Agenda {
    private(set) var earliest = MonotonicTime.never

    func note(_ time: MonotonicTime) { earliest = min(earliest, time) }

    func restart(at time: MonotonicTime) { earliest = time }
}
