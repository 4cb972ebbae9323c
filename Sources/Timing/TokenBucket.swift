/// A rate limit with a burst: units flow in at a steady rate up to a maximum, and each use takes some out.
///
/// 16 bytes, exact integer arithmetic, time as a parameter. Make it with `init(full:now:)`. Not safe for concurrent use.
package struct TokenBucket: Hashable, Sendable {
    /// How fast a bucket fills and how much it holds; kept apart from the buckets, which may be many.
    package struct Limit: Hashable, Sendable {
        /// Units per second.
        package let perSecond: UInt64
        /// The most units that a bucket holds, at most 2^34.
        package let burst: UInt64

        package init(perSecond: UInt64, burst: UInt64) {
            self.perSecond = perSecond
            self.burst = min(burst, 1 << 34)
        }

        fileprivate var capacity: UInt64 { burst * 1_000_000_000 }
    }

    /// What is in it, in billionths of a unit, so that rate × nanoseconds needs no division.
    private var level: UInt64
    private var updated: MonotonicTime

    /// A bucket as full as `limit` allows.
    package init(full limit: Limit, now: MonotonicTime) {
        level = limit.capacity
        updated = now
    }

    /// Takes `units` out and returns true, or takes nothing and returns false when there are fewer.
    package mutating func take(_ units: UInt64, limit: Limit, now: MonotonicTime) -> Bool {
        let (inflow, overflow) = now.since(updated).nanoseconds.multipliedReportingOverflow(by: limit.perSecond)
        let (sum, wrapped) = level.addingReportingOverflow(inflow)
        level = overflow || wrapped ? limit.capacity : min(sum, limit.capacity)
        updated = max(updated, now)
        let (cost, tooMuch) = units.multipliedReportingOverflow(by: 1_000_000_000)
        guard !tooMuch, cost <= level else { return false }
        level -= cost
        return true
    }
}
