package import Timing

/// A rate limit: `burst` at once, and `rate` a second in the long run. The owner gives the time.
package struct TokenBucket: Sendable {
    private let rate: Double
    private let burst: Double
    private var tokens: Double
    private var updated: MonotonicTime

    package init(rate: Double, burst: Double, now: MonotonicTime) {
        self.rate = rate
        self.burst = burst
        tokens = burst
        updated = now
    }

    /// Takes one token, on credit if there is none, and returns how long to wait for it.
    package mutating func take(now: MonotonicTime) -> Interval {
        refill(now)
        tokens -= 1
        return tokens >= 0 ? .zero : Interval(nanoseconds: UInt64(-tokens / rate * 1_000_000_000))
    }

    /// Takes one token if there is one.
    package mutating func tryTake(now: MonotonicTime) -> Bool {
        refill(now)
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }

    package mutating func isFull(now: MonotonicTime) -> Bool {
        refill(now)
        return tokens >= burst
    }

    private mutating func refill(_ now: MonotonicTime) {
        tokens = min(burst, tokens + now.since(updated).seconds * rate)
        updated = max(updated, now)
    }
}
