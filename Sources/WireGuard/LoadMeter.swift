import Timing

/// Whether so many handshakes are asked for that cookies are needed: a token bucket, and a second's memory once it is
/// empty (WireGuard paper 5.3 leaves the measure to the implementation).
///
/// Not safe for concurrent use.
struct LoadMeter {
    private let cost: UInt64
    private let capacity: UInt64
    private var tokens: UInt64
    private var last = MonotonicTime.zero
    private var loadEnds = MonotonicTime.zero

    /// `perSecond` and `burst` are at least 1.
    init(perSecond: Int, burst: Int) {
        cost = 1_000_000_000 / UInt64(max(perSecond, 1))
        capacity = cost * UInt64(max(burst, 1))
        tokens = capacity
    }

    /// Counts a handshake message that came at `now`, and says whether the device is under load.
    mutating func noteMessage(_ now: MonotonicTime) -> Bool {
        tokens = min(capacity, tokens + min(now.since(last).nanoseconds, capacity))
        last = now
        if tokens >= cost {
            tokens -= cost
        } else {
            loadEnds = now + .seconds(1)
        }
        return now < loadEnds
    }
}
