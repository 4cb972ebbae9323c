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
        refill(limit, now)
        guard let cost = Self.cost(units), cost <= level else { return false }
        level -= cost
        return true
    }

    /// Takes `units` out, those that are not there yet from what will flow in, and returns how long to wait for these.
    ///
    /// `units` and the waiting together are the caller's to bound: a bucket can owe for centuries.
    package mutating func takeAhead(_ units: UInt64, limit: Limit, now: MonotonicTime) -> Interval {
        refill(limit, now)
        guard let cost = Self.cost(units), limit.perSecond > 0 else { return Interval(nanoseconds: .max) }
        if cost <= level {
            level -= cost
        } else {
            // No more flows in before all that was taken has.
            let missing = cost - level
            let wait = missing / limit.perSecond + (missing % limit.perSecond > 0 ? 1 : 0)
            level = wait &* limit.perSecond &- missing
            updated = updated + Interval(nanoseconds: wait)
        }
        return updated.since(now)
    }

    package mutating func isFull(limit: Limit, now: MonotonicTime) -> Bool {
        refill(limit, now)
        return level == limit.capacity
    }

    private mutating func refill(_ limit: Limit, _ now: MonotonicTime) {
        let (inflow, overflow) = now.since(updated).nanoseconds.multipliedReportingOverflow(by: limit.perSecond)
        let (sum, wrapped) = level.addingReportingOverflow(inflow)
        level = overflow || wrapped ? limit.capacity : min(sum, limit.capacity)
        updated = max(updated, now)
    }

    private static func cost(_ units: UInt64) -> UInt64? {
        let (cost, overflow) = units.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? nil : cost
    }
}
