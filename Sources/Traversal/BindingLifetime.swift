package import Timing

/// How long our NAT keeps a binding without traffic, as keepalives that came after a silence have shown.
///
/// Two minutes are tried first, because RFC 4787 asks for them (REQ-5) and most NATs keep to it; then less, or, where a path
/// has been idle long enough for it to pay, more. A value; the silences are `Engine`'s.
package struct BindingLifetime: Equatable, Sendable {
    /// Just below what NATs keep: 30 s (Linux, unanswered), 60 s, 120 s (Linux, a stream), 240 s (Azure).
    package static let steps: [UInt16] = [15, 28, 55, 115, 240]
    /// As long as nothing is known: below the 30 s that most keep at least.
    package static let assumed: UInt16 = 28
    private static let first: UInt16 = 115
    /// A keepalive that did not come may also have been lost: the step is tried once more after this.
    static let retryAfter = Interval.seconds(3600)
    /// Few NATs keep more than two minutes, and a silence that lapses costs about five packets: as many as the longer one
    /// saves in a quarter of an hour.
    static let extendAfter = Interval.seconds(3600)

    /// The longest silence that was survived, in seconds; 0 when nothing was measured.
    package private(set) var known: UInt16 = 0
    /// When it was measured.
    private var knownAt = MonotonicTime.zero
    /// The shortest step that was not survived, and how often.
    private var lapse: (step: UInt16, count: Int, at: MonotonicTime)?

    package init() {}

    package static func == (left: Self, right: Self) -> Bool {
        left.known == right.known && left.lapse?.step == right.lapse?.step && left.lapse?.count == right.lapse?.count
    }

    package static func effective(_ known: UInt16) -> UInt16 { known == 0 ? assumed : known }

    /// The silence to be tried next; nil when there is nothing to learn now.
    package func nextStep(now: MonotonicTime) -> UInt16? {
        if known >= Self.first, now.since(knownAt) < Self.extendAfter { return nil }
        let longer = Self.steps.filter { $0 > Self.effective(known) }
        guard let lapse else { return longer.contains(Self.first) ? Self.first : longer.first }
        if let step = longer.last(where: { $0 < lapse.step }) { return step }
        let isLost = lapse.count < 2 && now.since(lapse.at) >= Self.retryAfter
        return isLost && longer.contains(lapse.step) ? lapse.step : nil
    }

    /// Something came in after so much silence.
    package mutating func survived(_ silence: Interval, now: MonotonicTime) {
        // Clocks and packets are not exact.
        let step = Self.steps.last { .seconds(UInt64($0)) <= silence + .milliseconds(500) }
        guard let step, step > Self.effective(known) else { return }
        (known, knownAt) = (step, now)
        if let lapse, lapse.step <= step { self.lapse = nil }
    }

    /// What should have come after that did not, though the peer was there.
    package mutating func lapsed(_ step: UInt16, now: MonotonicTime) {
        lapse = (step, lapse?.step == step ? (lapse?.count ?? 0) + 1 : 1, now)
    }

    /// Keepalives at the spacing that was safe so far do not come through any more.
    package mutating func shortened(now: MonotonicTime) {
        let before = Self.effective(known)
        known = Self.steps.last { $0 < before } ?? Self.steps[0]
        lapse = (before, 1, now)
    }

    /// Between two keepalives for a binding that lasts `seconds`.
    package static func spacing(_ seconds: UInt16) -> Interval {
        let seconds = UInt64(effective(seconds))
        return .milliseconds(seconds * 1000 - min(seconds * 100, 5000))
    }

    /// How late a keepalive may be: shorter than what `spacing` leaves.
    static func slack(_ seconds: UInt16) -> Interval { .milliseconds(min(UInt64(effective(seconds)) * 70, 4000)) }
}
