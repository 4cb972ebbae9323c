package import Timing

/// When what is due for one peer: the paper's timers as points in time, `.never` where not set (WireGuard paper 6).
///
/// Only says when; `Device` does what is due. The zero value waits for nothing.
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
    /// Who received data but sent nothing for so long sends an empty packet.
    package static var keepaliveTimeout: Interval { .seconds(10) }
    /// Keys and ephemeral secrets are erased when no session was made for so long.
    package static var zeroKeysTime: Interval { rejectAfterTime * 3 }
    /// On receiving, an initiator asks for new keys so long before the old ones end that a keepalive and a retry fit.
    package static var rekeyOnReceiveTime: Interval { .seconds(180 - 10 - 5) }

    // What is due.
    var retransmitHandshake = MonotonicTime.never
    var keepalive = MonotonicTime.never
    var newHandshake = MonotonicTime.never
    var zeroKeys = MonotonicTime.never
    var persistentKeepalive = MonotonicTime.never

    /// Zero when there are no persistent keepalives.
    var persistentInterval = Interval.zero
    /// Data came while a keepalive was already due: another follows it.
    private var needsAnotherKeepalive = false
    /// Since when a handshake has been wanted.
    var attemptingSince: MonotonicTime?
    /// Whether an initiation was sent that nothing came of yet.
    var isAttempting = false
    /// When the last initiation or response was sent.
    var lastHandshakeSent: MonotonicTime?
    /// Whether this session's rekey on receiving was already asked for.
    var hasRekeyedOnReceive = false

    var earliest: MonotonicTime {
        min(retransmitHandshake, min(min(keepalive, newHandshake), min(zeroKeys, persistentKeepalive)))
    }

    mutating func authenticatedPacketSent(_ now: MonotonicTime) {
        keepalive = .never
        restartPersistentKeepalive(now)
    }

    mutating func authenticatedPacketReceived(_ now: MonotonicTime) {
        newHandshake = .never
        restartPersistentKeepalive(now)
    }

    mutating func dataReceived(_ now: MonotonicTime) {
        if keepalive == .never {
            keepalive = now + Self.keepaliveTimeout
        } else {
            needsAnotherKeepalive = true
        }
    }

    /// After a keepalive that was due was sent.
    mutating func keepaliveExpired(_ now: MonotonicTime) {
        keepalive = needsAnotherKeepalive ? now + Self.keepaliveTimeout : .never
        needsAnotherKeepalive = false
    }

    mutating func handshakeInitiated(_ now: MonotonicTime, jitter: Interval) {
        lastHandshakeSent = now
        isAttempting = true
        let giveUp = (attemptingSince ?? now) + Self.rekeyAttemptTime
        retransmitHandshake = min(now + Self.rekeyTimeout + jitter, giveUp)
    }

    /// Whether a handshake that is due again has been tried for long enough.
    func hasTriedLongEnough(_ now: MonotonicTime) -> Bool {
        guard let since = attemptingSince else { return true }
        return now.since(since) >= Self.rekeyAttemptTime
    }

    mutating func handshakeCompleted() {
        retransmitHandshake = .never
        attemptingSince = nil
        isAttempting = false
        hasRekeyedOnReceive = false
    }

    mutating func sessionDerived(_ now: MonotonicTime) { zeroKeys = now + Self.zeroKeysTime }

    mutating func restartPersistentKeepalive(_ now: MonotonicTime) {
        if persistentInterval > .zero { persistentKeepalive = now + persistentInterval }
    }

    /// Waits for nothing any more, and remembers nothing but its configuration.
    mutating func stop() {
        let interval = persistentInterval
        self = Timers()
        persistentInterval = interval
    }
}
