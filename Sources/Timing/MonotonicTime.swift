/// A point on the monotonic clock, in nanoseconds from an arbitrary origin.
///
/// Sans-I/O modules take it as a parameter, so that tests run on virtual time. The zero value is the clock's origin.
package struct MonotonicTime: Hashable, Comparable, Sendable {
    /// Nanoseconds since the origin of CLOCK_MONOTONIC.
    package var nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = MonotonicTime(nanoseconds: 0)
    /// Later than every time a clock reads: a timer that is not set.
    package static let never = MonotonicTime(nanoseconds: .max)

    package static func < (left: Self, right: Self) -> Bool { left.nanoseconds < right.nanoseconds }

    /// The time `interval` later; saturates at `never`, so that adding to an unset timer leaves it unset.
    package static func + (time: Self, interval: Interval) -> Self {
        let (sum, overflow) = time.nanoseconds.addingReportingOverflow(interval.nanoseconds)
        return overflow ? .never : Self(nanoseconds: sum)
    }

    /// How long after `earlier` this time is; zero when it is not after it.
    package func since(_ earlier: Self) -> Interval {
        Interval(nanoseconds: nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0)
    }
}

/// A non-negative span of time in whole nanoseconds.
package struct Interval: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = Interval(nanoseconds: 0)
    package static func nanoseconds(_ count: UInt64) -> Self { Self(nanoseconds: count) }
    package static func milliseconds(_ count: UInt64) -> Self { Self(nanoseconds: count * 1_000_000) }
    package static func seconds(_ count: UInt64) -> Self { Self(nanoseconds: count * 1_000_000_000) }

    package var milliseconds: Double { Double(nanoseconds) / 1_000_000 }
    package var seconds: Double { Double(nanoseconds) / 1_000_000_000 }

    package static func < (left: Self, right: Self) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func + (left: Self, right: Self) -> Self { Self(nanoseconds: left.nanoseconds + right.nanoseconds) }
    package static func * (left: Self, right: UInt64) -> Self { Self(nanoseconds: left.nanoseconds * right) }
    package static func / (left: Self, right: UInt64) -> Self { Self(nanoseconds: left.nanoseconds / right) }
}
