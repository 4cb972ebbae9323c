import Timing

/// The sequence numbers of an agent's announcements: the time in milliseconds, so that a restart without memory is above
/// what was before; above the last one when the clock goes back, and above what the directory has of us.
struct AnnouncementSequence {
    /// How far ahead of ours a number may be that the directory says it has of us: 30 days, for a clock that was wrong. A
    /// directory that could name any number could use all of them up.
    static let foreignLimit: UInt64 = 30 * 86_400_000

    private var last: UInt64 = 0

    /// The next number above `known`; nil when `known` can't be ours.
    mutating func next(at wall: WallTime, above known: UInt64 = 0) -> UInt64? {
        let seconds = UInt64(min(max(wall.seconds, 0), 99_999_999_999))
        let own = max(seconds * 1000 + UInt64(wall.nanoseconds / 1_000_000), last)
        guard known < own + Self.foreignLimit else { return nil }
        last = max(own, last + 1, known + 1)
        return last
    }
}
