package import Timing

/// A smoothed round trip and its deviation (RFC 6298 section 2; the first deviation is half of what it says, because a
/// few samples follow at once).
package struct RoundTrip: Equatable, Sendable {
    package private(set) var smoothed: Interval
    package private(set) var deviation: Interval

    package init(first sample: Interval) {
        smoothed = sample
        deviation = sample / 4
    }

    package mutating func add(_ sample: Interval) {
        let difference =
            sample > smoothed ? sample.nanoseconds - smoothed.nanoseconds : smoothed.nanoseconds - sample.nanoseconds
        deviation = .nanoseconds(deviation.nanoseconds - deviation.nanoseconds / 4 + difference / 4)
        smoothed = .nanoseconds(smoothed.nanoseconds - smoothed.nanoseconds / 8 + sample.nanoseconds / 8)
    }

    /// What an answer takes at most, as a rule.
    package var upperBound: Interval { smoothed + deviation * 4 }
}
