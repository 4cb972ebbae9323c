import Timing

/// Whether a packet thread looks further than the packets that it deals with next.
///
/// While there is bulk, few packets are taken at once, which are still in the cache when they are sealed or opened. Somebody
/// else's short packet behind it then waits in the kernel until its turn has come; once one was met, as many as there is
/// room for are looked at for a while, to let such packets go first. One thread.
struct LookAhead {
    /// The largest packet that goes first, in bytes: acknowledgements, questions, short answers.
    static let short = 256
    /// What makes a turn bulk, and how much of it is dealt with before the next look.
    static let bulk = 32 << 10
    private static let memory = Interval.milliseconds(100)

    private var lastBulk = MonotonicTime.zero
    private var end = MonotonicTime.zero

    /// So much was dealt with at once.
    @inline(__always)
    mutating func note(_ bytes: Int, now: MonotonicTime) {
        if bytes >= Self.bulk { lastBulk = now }
    }

    /// Whether there was bulk a moment ago.
    @inline(__always)
    func isAfterBulk(now: MonotonicTime) -> Bool { lastBulk > .zero && now.since(lastBulk) < Self.memory }

    /// A short packet was met that might go before others.
    mutating func met(now: MonotonicTime) { if isAfterBulk(now: now) { end = now + Self.memory } }

    @inline(__always)
    func isOn(now: MonotonicTime) -> Bool { now < end }
}
