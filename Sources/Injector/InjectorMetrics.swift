package import Injection
import Metrics
import Scrape
import Synchronization
import Timing

/// What the injector counts, as Prometheus reads it.
package final class InjectorMetrics: Sendable {
    private struct State {
        var reviews: [String: UInt64] = [:]
        var seconds = Histogram([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5])
    }

    private let state = Mutex(State())

    package init() {}

    /// - Parameter outcome: that of a review, or `malformed`.
    func count(_ outcome: String, after seconds: Double) {
        state.withLock {
            $0.reviews[outcome, default: 0] += 1
            $0.seconds.observe(seconds)
        }
    }

    package func reviews(_ outcome: Admission.Outcome) -> UInt64 {
        state.withLock { $0.reviews[outcome.rawValue] ?? 0 }
    }

    /// - Parameter others: writes what else the process tells.
    func text(_ identity: ServingIdentity, _ others: (inout Exposition) -> Void) -> String {
        let state = state.withLock { $0 }
        var page = Exposition(prefix: "warren_injector_")
        page.counter(
            "reviews_total", "Admission reviews, by what became of them.", by: "outcome",
            (Admission.Outcome.allCases.map(\.rawValue) + ["malformed"]).map { ($0, state.reviews[$0] ?? 0) })
        page.histogram("review_seconds", "From the last byte of a review to its answer.", state.seconds)
        let life = identity.life
        page.gauge(
            "certificate_expiry_timestamp_seconds", "When a certificate ends, in Unix time.", by: "certificate",
            [("leaf", life.leaf), ("authority", life.authority)].compactMap { name, end in
                end.map { (name, Int($0.seconds)) }
            })
        page.counter(
            "certificate_changes_total", "How often another leaf was shown.", UInt64(life.changes))
        others(&page)
        ProcessFigures.write(to: &page)
        return page.text
    }
}
