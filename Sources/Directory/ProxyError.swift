package import Membership

/// Why there is no connection through an HTTP proxy. Each description is one line that says what to do.
package enum ProxyError: Error, Equatable, Sendable {
    case unreachable(HubAddress, reason: String)
    /// Status 407: the proxy wants credentials, or others.
    case credentials(HubAddress)
    case refused(HubAddress, status: Int)
    /// What came from it is not HTTP.
    case notAProxy(HubAddress)
    /// `HTTPS_PROXY` names no proxy that can be used.
    case malformed
}

extension ProxyError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreachable(let address, let reason): "proxy \(address): \(reason)"
        case .credentials(let address): "proxy \(address): it wants credentials, as http://USER:PASSWORD@HOST:PORT"
        case .refused(let address, let status):
            "proxy \(address): status \(status) to CONNECT; allow the hub and its relays there"
        case .notAProxy(let address): "proxy \(address): its answer is not HTTP"
        case .malformed: "HTTPS_PROXY: http://[USER:PASSWORD@]HOST:PORT is needed"
        }
    }
}
