import Directory
import Metrics
import Scrape
import Synchronization
import Timing

/// What a hub counts, as Prometheus reads it. It names no agent. Safe from any thread.
package final class HubMetrics: Sendable {
    /// Bounds of the time that the store takes, in seconds.
    private static let storeBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5]

    /// Whose questions are counted by what became of them.
    enum Family: String, CaseIterable, Sendable { case lookups, publications, signals }

    /// What is looked at now and then.
    struct Survey: Sendable {
        var agents = 0
        var records: Int?
        var leases: Int?
        var blocks: (leased: Int, free: Int)?
    }

    private struct State {
        var requests: [String: [String: UInt64]] = [:]
        var results: [Family: [String: UInt64]] = [:]
        var conflicts: UInt64 = 0
        var storeTimes: [String: Histogram] = [:]
        var storeErrors: [String: UInt64] = [:]
        var survey = Survey()
        var certificateEnd: Int64?
        var isBehindNodes = false
    }

    private let state = Mutex(State())

    package init() {}

    /// - Parameter code: why it was refused; nil when it was not.
    func count(_ request: String, refusedFor code: ErrorCode?) {
        let result = code.map(Self.label) ?? "ok"
        state.withLock { $0.requests[request, default: [:]][result, default: 0] += 1 }
    }

    func count(_ family: Family, _ result: String) {
        state.withLock { $0.results[family, default: [:]][result, default: 0] += 1 }
    }

    func countConflicts(_ count: Int) { state.withLock { $0.conflicts += UInt64(count) } }

    func noteStore(_ operation: String, seconds: Double, isFailed: Bool) {
        state.withLock { state in
            state.storeTimes[operation, default: Histogram(Self.storeBounds)].observe(seconds)
            if isFailed { state.storeErrors[operation, default: 0] += 1 }
        }
    }

    func note(_ survey: Survey) { state.withLock { $0.survey = survey } }
    func noteCertificate(end: Int64) { state.withLock { $0.certificateEnd = end } }

    /// - Returns: whether that is news.
    func note(isBehindNodes: Bool) -> Bool {
        state.withLock { state in
            defer { state.isBehindNodes = isBehindNodes }
            return state.isBehindNodes != isBehindNodes
        }
    }

    func text(_ exchange: RelaySwitch?) -> String {
        let state = state.withLock { $0 }
        var page = Exposition(prefix: "warren_hub_")
        page.counter(
            "requests_total", "What the authority was asked for, by what became of it.",
            samples: state.requests.sorted { $0.key < $1.key }.flatMap { request, results in
                results.sorted { $0.key < $1.key }.map { ([("request", request), ("result", $0.key)], $0.value) }
            })
        page.gauge("connected_agents", "Agents that are connected to the directory.", state.survey.agents)
        page.gauge("records", "Records of agents in the directory.", state.survey.records.map(Double.init))
        page.gauge("leases", "Names and addresses held by agents.", state.survey.leases.map(Double.init))
        page.gauge(
            "node_blocks", "Blocks of the mesh's addresses for nodes.", by: "state",
            state.survey.blocks.map { [("leased", $0.leased), ("free", $0.free)] } ?? [])
        for (family, help, known) in [
            (Family.lookups, "Questions for agents.", ["found", "not-found"]),
            (.publications, "Announcements of agents.", ["stored", "stale", "refused", "withdrawn"]),
            (.signals, "Signals between agents.", ["delivered", "undeliverable"]),
        ] {
            let results = state.results[family] ?? [:]
            page.counter("\(family.rawValue)_total", help, by: "result", known.map { ($0, results[$0] ?? 0) })
        }
        page.counter(
            "record_conflicts_total", "Times a live name or address appeared under another identity key.",
            state.conflicts)
        let times = state.storeTimes.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        page.histogram("store_seconds", "How long the store took.", by: "operation", times)
        page.counter(
            "store_errors_total", "Times the store failed.", by: "operation",
            ["read", "write"].map { ($0, state.storeErrors[$0] ?? 0) })
        page.gauge(
            "tls_certificate_expiry_timestamp_seconds", "When the TLS certificate ends, in Unix time.",
            state.certificateEnd.map(Double.init))
        page.gauge(
            "clients_behind_nodes",
            "Whether agents seem to come from few private addresses, as behind a Service's SNAT.",
            isTrue: state.isBehindNodes)
        if let exchange { RelayMetrics.write(exchange, to: &page) }
        ProcessFigures.write(to: &page)
        return page.text
    }

    private static func label(_ code: ErrorCode) -> String {
        switch code {
        case .wrongToken: "wrong-token"
        case .expiredToken: "expired-token"
        case .usedUpToken: "used-up-token"
        case .invalidProof: "invalid-proof"
        case .nameNotAllowed: "name-not-allowed"
        case .addressNotAllowed: "address-not-allowed"
        case .nameTaken: "name-taken"
        case .addressTaken: "address-taken"
        case .notMember: "not-member"
        case .wrongKind: "wrong-kind"
        case .noBlockLeft: "no-block-left"
        case .internal: "failed"
        default: "code-\(code.rawValue)"
        }
    }
}
