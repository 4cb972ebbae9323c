package import Timing

/// How many handshakes each source may ask for under load: 20 a second, 5 at once (a token bucket a source).
///
/// Only sources whose mac2 proves their address come here. The zero value has seen nobody. Not safe for concurrent use.
package struct RateLimiter {
    package static let perSecond: UInt64 = 20
    package static let burst: UInt64 = 5
    /// More sources at once than this are refused: memory stays bounded.
    package static let maximumSources = 16384

    private static let cost = 1_000_000_000 / perSecond
    private static let capacity = cost * burst

    private struct Bucket {
        var tokens: UInt64
        var last: MonotonicTime
    }

    private var buckets: [PathSource: Bucket] = [:]
    private var lastSweep = MonotonicTime.zero

    package init() {}

    /// Whether `source` may have another handshake now.
    package mutating func allow(_ source: PathSource, now: MonotonicTime) -> Bool {
        sweep(now)
        guard var bucket = buckets[source] else {
            guard buckets.count < Self.maximumSources else { return false }
            buckets[source] = Bucket(tokens: Self.capacity - Self.cost, last: now)
            return true
        }
        bucket.tokens = min(Self.capacity, bucket.tokens + min(now.since(bucket.last).nanoseconds, Self.capacity))
        bucket.last = now
        let isAllowed = bucket.tokens >= Self.cost
        if isAllowed { bucket.tokens -= Self.cost }
        buckets[source] = bucket
        return isAllowed
    }

    /// How many sources are remembered.
    package var count: Int { buckets.count }

    /// Forgets, once a second, those whose bucket is full again.
    private mutating func sweep(_ now: MonotonicTime) {
        guard now.since(lastSweep) >= .seconds(1) else { return }
        lastSweep = now
        buckets = buckets.filter { now.since($0.value.last) < .seconds(1) }
    }
}
