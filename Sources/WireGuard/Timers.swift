package import Timing

/// When what is due for one peer: the paper's timers as points in time, `.never` where not set (WireGuard paper 6). Those that
/// follow from packets are worked out from what the peer's link has noted of them.
///
/// Only says when; `Device` does what is due. The first value waits for nothing.
package struct Timers {
    /// An initiator asks for new keys once its session is this old.
    package static var rekeyAfterTime: Interval { .seconds(120) }
    /// Where both ends initiated at once, one of them leaves the next handshake to the other for so long.
    package static var rekeyYieldTime: Interval { .seconds(10) }
    /// A session this old neither seals nor opens.
    package static var rejectAfterTime: Interval { .seconds(180) }
    /// Without an answer for so long, a handshake is given up.
    package static var rekeyAttemptTime: Interval { .seconds(90) }
    /// The time between two handshake messages to a peer, to which up to `jitter` is added.
    package static var rekeyTimeout: Interval { .seconds(5) }
    package static var maximumJitter: Interval { .milliseconds(333) }
    /// From an attempt's first initiation to its repetitions, where there are any.
    package static var repetitions: [Interval] {
        [.milliseconds(300), .milliseconds(700), .milliseconds(1500), .seconds(3)]
    }
    /// Who received data but sent nothing for so long sends an empty packet.
    package static var keepaliveTimeout: Interval { .seconds(10) }
    /// Keys and ephemeral secrets are erased when no session was made for so long.
    package static var zeroKeysTime: Interval { rejectAfterTime * 3 }
    /// On receiving, an initiator asks for new keys so long before the old ones end that a keepalive and a retry fit.
    package static var rekeyOnReceiveTime: Interval { .seconds(180 - 10 - 5) }

    // What is due.
    var retransmitHandshake = MonotonicTime.never
    /// When the same initiation goes again, and how often it has.
    private(set) var repeatInitiation = MonotonicTime.never
    private var repeated = 0
    var zeroKeys = MonotonicTime.never
    /// The earliest that a persistent keepalive goes, while nothing else does.
    var persistentKeepalive = MonotonicTime.never
    /// When the packets that went and came are to be looked at again.
    var lookAgain = MonotonicTime.never

    /// Zero when there are no persistent keepalives.
    var persistentInterval = Interval.zero
    /// Since when a handshake has been wanted.
    var attemptingSince: MonotonicTime?
    /// Whether an initiation was sent that nothing came of yet.
    var isAttempting = false
    /// When the last initiation or response was sent.
    var lastHandshakeSent: MonotonicTime?
    private let jitterSeed: UInt64

    init(jitterSeed: UInt64) { self.jitterSeed = jitterSeed }

    func earliest(_ link: PeerLink) -> MonotonicTime {
        min(
            min(min(retransmitHandshake, repeatInitiation), min(zeroKeys, lookAgain)),
            min(keepalive(link), min(newHandshake(link), persistentKeepalive(link))))
    }

    /// When an empty packet is due, for data that nothing was sent back for.
    func keepalive(_ link: PeerLink) -> MonotonicTime {
        link.unrepliedSince.map { $0 + Self.keepaliveTimeout } ?? .never
    }

    /// When a handshake is due, for data that nothing has come back for.
    func newHandshake(_ link: PeerLink) -> MonotonicTime {
        guard let since = link.unansweredSince else { return .never }
        return since + Self.keepaliveTimeout + Self.rekeyTimeout + Self.jitter(since.nanoseconds ^ jitterSeed)
    }

    /// When a persistent keepalive is due.
    func persistentKeepalive(_ link: PeerLink) -> MonotonicTime {
        guard persistentInterval > .zero, persistentKeepalive != .never else { return .never }
        if persistentKeepalive == .zero { return .zero }
        return max(persistentKeepalive, max(link.sentAt, link.receivedAt) + persistentInterval)
    }

    /// A time up to `maximumJitter` for each `seed`, so that two ends do not keep asking at once: no secret (SplitMix64).
    static func jitter(_ seed: UInt64) -> Interval {
        var value = seed &+ 0x9e37_79b9_7f4a_7c15
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return .nanoseconds((value ^ value >> 31) % maximumJitter.nanoseconds)
    }

    /// - Parameter repeats: whether it is to go again; only the first of an attempt is, for a peer that is away answers none.
    mutating func handshakeInitiated(_ now: MonotonicTime, jitter: Interval, repeats: Bool) {
        lastHandshakeSent = now
        repeated = 0
        repeatInitiation = repeats ? now + Self.repetitions[0] : .never
        isAttempting = true
        let giveUp = (attemptingSince ?? now) + Self.rekeyAttemptTime
        retransmitHandshake = min(now + Self.rekeyTimeout + jitter, giveUp)
    }

    /// Whether a handshake that is due again has been tried for long enough.
    func hasTriedLongEnough(_ now: MonotonicTime) -> Bool {
        guard let since = attemptingSince else { return true }
        return now.since(since) >= Self.rekeyAttemptTime
    }

    /// The initiation goes again now.
    mutating func initiationRepeated() {
        repeated += 1
        guard let first = lastHandshakeSent, repeated < Self.repetitions.count else { return repeatInitiation = .never }
        repeatInitiation = first + Self.repetitions[repeated]
    }

    mutating func handshakeCompleted() {
        retransmitHandshake = .never
        repeatInitiation = .never
        attemptingSince = nil
        isAttempting = false
    }

    mutating func sessionDerived(_ now: MonotonicTime) { zeroKeys = now + Self.zeroKeysTime }

    /// Waits for nothing any more, and remembers nothing but its configuration.
    mutating func stop() {
        let interval = persistentInterval
        self = Timers(jitterSeed: jitterSeed)
        persistentInterval = interval
    }
}
