package import Membership

/// Why there is no stream to a relay. Each description is one line that says what to do.
package enum RelayStreamError: Error, Equatable, Sendable {
    case unreachable(HubAddress, reason: String)
    /// The server's key is not the pinned one: another server, or somebody who opens TLS in between.
    case wrongPin(HubAddress)
    /// The server speaks HTTP and does not know our upgrade.
    case notUpgraded(HubAddress, status: Int)
    case proxyUnreachable(HubAddress, reason: String)
    /// Status 407: the proxy wants credentials, or others.
    case proxyCredentials(HubAddress)
    case proxyRefused(HubAddress, status: Int)
    /// What came from the proxy is not HTTP.
    case notAProxy(HubAddress)
    case malformedProxy
    case timeout(HubAddress)
    case cancelled
}

extension RelayStreamError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreachable(let address, let reason): "relay \(address): \(reason)"
        case .wrongPin(let address):
            "relay \(address): its TLS key is not the one the hub names; if a proxy opens TLS, exempt this address there"
        case .notUpgraded(let address, let status):
            "relay \(address): HTTP status \(status) instead of an upgrade; route \(RelayUpgrade.path) to the relay there"
        case .proxyUnreachable(let address, let reason): "proxy \(address): \(reason)"
        case .proxyCredentials(let address): "proxy \(address): it wants credentials, as http://USER:PASSWORD@HOST:PORT"
        case .proxyRefused(let address, let status):
            "proxy \(address): status \(status) to CONNECT; allow the relay there"
        case .notAProxy(let address): "proxy \(address): its answer is not HTTP"
        case .malformedProxy: "HTTPS_PROXY: http://[USER:PASSWORD@]HOST:PORT is needed"
        case .timeout(let address): "relay \(address): no answer in time"
        case .cancelled: "cancelled"
        }
    }
}
