package import Directory
package import Membership

/// Why there is no stream to a relay. Each description is one line that says what to do.
package enum RelayStreamError: Error, Equatable, Sendable {
    case unreachable(HubAddress, reason: String)
    /// The server's key is not the pinned one: another server, or somebody who opens TLS in between.
    case wrongPin(HubAddress)
    /// The server speaks HTTP and does not know our upgrade.
    case notUpgraded(HubAddress, status: Int)
    case proxy(ProxyError)
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
        case .proxy(let error): error.description
        case .timeout(let address): "relay \(address): no answer in time"
        case .cancelled: "cancelled"
        }
    }
}
