/// A sliding window over the last 960 probe counters (RFC 6479). Counter zero is never valid.
///
/// Wide, because probes of one sender come by paths as different as a relay, a directory and a few hundred sockets. The
/// zero value accepts any counter.
struct ProbeWindow {
    private static let words: UInt64 = 16
    static let size = (words - 1) * 64

    private var highest: UInt64 = 0
    /// Empty before the first: most peers of a large mesh send none.
    private var seen: [UInt64] = []

    /// Whether `counter` is new; marks it as seen.
    mutating func accept(_ counter: UInt64) -> Bool {
        guard counter > 0, highest < Self.size || counter > highest - Self.size else { return false }
        if seen.isEmpty { seen = [UInt64](repeating: 0, count: Int(Self.words)) }
        let word = counter / 64
        if counter > highest {
            let first = highest / 64
            for step in 0..<min(word - first, Self.words) { seen[Int((word - step) % Self.words)] = 0 }
            highest = counter
        }
        let bit = UInt64(1) << (counter % 64)
        guard seen[Int(word % Self.words)] & bit == 0 else { return false }
        seen[Int(word % Self.words)] |= bit
        return true
    }
}
