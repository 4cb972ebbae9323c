import Timing

/// Keeps the time that datagrams wait for the tunnel short: when it stays above a target, senders are told to send less, by
/// the loss of one large TCP packet (as CoDel does, RFC 8289).
///
/// Senders that are only held up by their window fill any buffer, and the small packets of others wait behind. Unlike
/// CoDel, which looks at the least wait of an interval, this looks at the mean: where processors are shared, a queue
/// empties now and then however long it is in between. One thread.
struct QueueDelay {
    /// The mean wait to keep below.
    static let target = Interval.nanoseconds(200_000)
    /// The time that the mean is of, and at first the time between two losses.
    static let interval = Interval.milliseconds(100)
    /// What is large: a bulk transfer's, and no acknowledgement, question or answer. In bytes.
    private static let large = 1000

    /// In nanoseconds.
    private var mean = 0.0
    private var lastNoted = MonotonicTime.zero
    /// Losses since the mean was last below the target.
    private var losses = 0
    private var nextLoss = MonotonicTime.never

    /// A datagram has waited for so long.
    mutating func note(_ waited: Interval, now: MonotonicTime) {
        let passed = now.since(lastNoted)
        lastNoted = now
        // After a pause the past says nothing.
        let weight = min(1, Double(passed.nanoseconds) / Double(Self.interval.nanoseconds))
        mean += (Double(waited.nanoseconds) - mean) * (passed > Self.interval ? 0 : max(weight, 0.001))
        if passed > Self.interval { mean = 0 }
        if mean <= Double(Self.target.nanoseconds) {
            losses = 0
            nextLoss = .never
        } else if nextLoss == .never {
            nextLoss = now + Self.interval
        }
    }

    /// Whether the loss of this packet tells its sender something and costs no more than that: a large one of TCP.
    @inline(__always)
    static func mayLose(_ packet: UnsafeMutableRawBufferPointer) -> Bool {
        // The protocol number of IPv4, or the next header of IPv6.
        packet.count >= large && (unsafe packet[packet[0] &>> 4 == 6 ? 6 : 9]) == 6
    }

    /// Whether this packet is the one to lose.
    @inline(__always)
    mutating func takesOne(now: MonotonicTime) -> Bool {
        guard nextLoss <= now else { return false }
        losses += 1
        // The control law of RFC 8289 5.5: with each, the next comes a little sooner.
        nextLoss = now + .nanoseconds(UInt64(Double(Self.interval.nanoseconds) / Double(losses).squareRoot()))
        return true
    }
}
