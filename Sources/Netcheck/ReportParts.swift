import Addressing
import Control
import Gather
import Linux
import Membership
import PortMapping
import STUN
import Timing

// The parts of a check, and what they say in a report's words.

/// Runs what blocks on a thread of its own; nil when it fails.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async -> Value? {
    await withCheckedContinuation { continuation in
        do throws(SystemError) {
            _ = try Thread(named: "netcheck") { continuation.resume(returning: try? body()) }
        } catch { continuation.resume(returning: nil) }
    }
}

extension NATReport {
    init(_ behavior: BehaviorReport) {
        self.init(
            udp: !behavior.mapped.isEmpty, mapped: behavior.mapped.map(\.description),
            isTranslated: behavior.isTranslated, mapping: behavior.mapping?.rawValue,
            filtering: behavior.filtering?.rawValue, allocation: behavior.allocation?.description,
            pooling: behavior.pooling?.rawValue, summary: behavior.description)
    }
}

extension PortMappingReport {
    init(_ kind: MappingProtocol, _ finding: MappingFinding) {
        switch finding {
        case .found(let external):
            self.init(name: kind.rawValue, state: "found", external: external?.description, detail: nil)
        case .refused(let reason):
            self.init(name: kind.rawValue, state: "refused", external: nil, detail: reason)
        case .absent, .searching:
            self.init(name: kind.rawValue, state: "absent", external: nil, detail: nil)
        }
    }
}

extension ReachReport {
    init(_ address: HubAddress, _ outcome: StreamProbe.Outcome) {
        self.init(address: address.description, state: "reachable", rttMs: outcome.connected?.milliseconds)
        readyMs = outcome.ready?.milliseconds
        guard let failure = outcome.failure else { return }
        (rttMs, readyMs) = (nil, nil)
        switch failure {
        case .refused: state = "refused"
        case .timeout: state = "timeout"
        case .noAddress: state = "no-address"
        case .unreachable(let reason): (state, detail) = ("unreachable", reason)
        case .intercepted(let issuer, let subject):
            (state, detail) = (
                "intercepted", "an intercepting proxy presents another certificate, for \(subject), issued by \(issuer)"
            )
        case .notTLS(let reason): (state, detail) = ("not-tls", reason)
        case .proxyUnreachable(let reason): (state, detail) = ("proxy-unreachable", reason)
        case .proxyRefused(407): (state, detail) = ("proxy-refused", "status 407: it wants credentials, or others")
        case .proxyRefused(let status): (state, detail) = ("proxy-refused", "status \(status)")
        }
    }

    init(_ endpoint: Endpoint, roundTrip: Interval?) {
        self.init(
            address: endpoint.description, state: roundTrip == nil ? "timeout" : "reachable",
            rttMs: roundTrip?.milliseconds)
    }
}
