package import Timing

/// How long to wait before the next attempt: full jitter between zero and a limit that doubles from 0.25 s to 30 s, so that
/// the agents of a restarted hub do not come back all at once.
package struct Backoff: Sendable {
    package static let first = Interval.milliseconds(250)
    package static let limit = Interval.seconds(30)

    private var ceiling = first

    package init() {}

    package mutating func next(using random: inout some RandomNumberGenerator) -> Interval {
        defer { ceiling = min(ceiling * 2, Self.limit) }
        return Interval(nanoseconds: UInt64.random(in: 0...ceiling.nanoseconds, using: &random))
    }

    package mutating func reset() { ceiling = Self.first }
}
