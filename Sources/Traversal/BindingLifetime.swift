package import Timing

/// How long our NAT keeps a binding without traffic: a ladder that is climbed until a step does not hold.
///
/// A value; the measuring itself is `Engine`'s, with a socket and a peer that sends after so many seconds of silence.
package struct BindingLifetime: Equatable, Sendable {
    /// Just below what NATs keep: 30 s (Linux, unanswered), 60 s, 120 s (Linux, a stream), 240 s (Azure).
    package static let steps: [UInt16] = [15, 28, 55, 110, 240]
    /// As long as nothing is known: below the 30 s that most keep at least.
    package static let assumed: UInt16 = 28

    /// The longest silence that was survived, in seconds; 0 when nothing was measured.
    package private(set) var known: UInt16 = 0
    /// Whether a longer one was not, or the ladder has ended.
    package private(set) var isComplete = false
    /// When a measurement that went wrong for another reason may be made again.
    private(set) var retryAt = MonotonicTime.zero
    private(set) var failures = 0

    package init() {}

    /// What the next measurement asks for; nil when there is nothing to learn.
    package var nextStep: UInt16? { isComplete ? nil : Self.steps.first { $0 > known } }

    package mutating func survived(_ seconds: UInt16) {
        known = max(known, seconds)
        failures = 0
        isComplete = nextStep == nil
    }

    /// A binding was gone after that, or what should have shown otherwise was lost: the second time counts.
    package mutating func lapsed(_ seconds: UInt16) {
        failures += 1
        if failures >= 2 {
            isComplete = true
            if known == 0 { known = seconds / 2 }
        }
    }

    package mutating func postpone(until time: MonotonicTime) { retryAt = time }

    /// Between two keepalives for a binding that lasts `seconds`.
    package static func spacing(_ seconds: UInt16) -> Interval {
        let seconds = UInt64(seconds == 0 ? assumed : seconds)
        return .milliseconds(seconds * 1000 - min(seconds * 100, 5000))
    }
}
