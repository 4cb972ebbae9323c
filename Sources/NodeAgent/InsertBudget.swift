package import Timing

/// How often our entry may be put back: five times a minute, then ever longer pauses. Two agents that undo each other's work
/// would otherwise keep every new pod of the node between two configurations.
package struct InsertBudget: Sendable {
    package static let perMinute = 5
    private static let window = Interval.seconds(60)
    private static let longestPause = Interval.seconds(900)
    /// An entry that stood this long is nobody's quarrel.
    private static let peace = Interval.seconds(600)

    private var recent: [MonotonicTime] = []
    private var last: MonotonicTime?
    private var pausedUntil = MonotonicTime.zero
    private var pause = InsertBudget.window

    package init() {}

    /// Nil when the entry may be put in now, which counts; else when it may be.
    package mutating func take(now: MonotonicTime) -> MonotonicTime? {
        if now < pausedUntil { return pausedUntil }
        if let last, now.since(max(last, pausedUntil)) >= Self.peace { pause = Self.window }
        recent.removeAll { now.since($0) >= Self.window }
        guard recent.count < Self.perMinute else {
            pausedUntil = now + pause
            pause = min(pause * 2, Self.longestPause)
            return pausedUntil
        }
        recent.append(now)
        last = now
        return nil
    }

    /// When a pause ends; nil when there is none.
    package func pause(at now: MonotonicTime) -> MonotonicTime? { now < pausedUntil ? pausedUntil : nil }
}
