package import Injection
import Synchronization
import Timing

/// Counters in Prometheus' text format (0.0.4).
package final class InjectorMetrics: Sendable {
    /// Upper bounds in seconds.
    static let buckets: [Double] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5]

    private struct State {
        var reviews: [String: UInt64] = [:]
        var counts = [UInt64](repeating: 0, count: InjectorMetrics.buckets.count + 1)
        var sum = 0.0
    }

    private let state = Mutex(State())

    package init() {}

    /// - Parameter outcome: that of a review, or `malformed`.
    func count(_ outcome: String, after seconds: Double) {
        state.withLock {
            $0.reviews[outcome, default: 0] += 1
            $0.counts[Self.buckets.firstIndex { seconds <= $0 } ?? Self.buckets.count] += 1
            $0.sum += seconds
        }
    }

    package func reviews(_ outcome: Admission.Outcome) -> UInt64 {
        state.withLock { $0.reviews[outcome.rawValue] ?? 0 }
    }

    package func text(_ identity: ServingIdentity) -> String {
        let state = state.withLock { $0 }
        var lines = [
            "# HELP warren_injector_reviews_total Admission reviews, by what became of them.",
            "# TYPE warren_injector_reviews_total counter",
        ]
        for outcome in Admission.Outcome.allCases.map(\.rawValue) + ["malformed"] {
            lines.append("warren_injector_reviews_total{outcome=\"\(outcome)\"} \(state.reviews[outcome] ?? 0)")
        }
        lines += [
            "# HELP warren_injector_review_seconds From the last byte of a review to its answer.",
            "# TYPE warren_injector_review_seconds histogram",
        ]
        var total: UInt64 = 0
        for (bound, count) in zip(Self.buckets.map { "\($0)" } + ["+Inf"], state.counts) {
            total += count
            lines.append("warren_injector_review_seconds_bucket{le=\"\(bound)\"} \(total)")
        }
        lines += [
            "warren_injector_review_seconds_sum \(state.sum)", "warren_injector_review_seconds_count \(total)",
            "# HELP warren_injector_certificate_expiry_timestamp_seconds When a certificate ends, in Unix time.",
            "# TYPE warren_injector_certificate_expiry_timestamp_seconds gauge",
        ]
        let life = identity.life
        for (name, end) in [("leaf", life.leaf), ("authority", life.authority)] {
            guard let end else { continue }
            lines.append("warren_injector_certificate_expiry_timestamp_seconds{certificate=\"\(name)\"} \(end.seconds)")
        }
        lines += [
            "# HELP warren_injector_certificate_changes_total How often another leaf was shown.",
            "# TYPE warren_injector_certificate_changes_total counter",
            "warren_injector_certificate_changes_total \(life.changes)",
        ]
        return lines.joined(separator: "\n") + "\n"
    }
}
