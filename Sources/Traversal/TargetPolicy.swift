package import Addressing

/// Which candidate targets of a peer are refused, so that no peer can make us send where it could not send itself.
package struct TargetPolicy: Sendable {
    /// The mesh's own ranges: a tunnel must never run inside itself.
    package var meshRanges: [IPPrefix]
    /// For tests and single-host labs: loopback is a target like any other.
    package var allowsLoopback = false

    package init(meshRanges: [IPPrefix]) { self.meshRanges = meshRanges }

    package func refuses(_ endpoint: Endpoint) -> Bool {
        if endpoint.port == 0 { return true }
        if allowsLoopback, case .v4(let address) = endpoint.address, address.value >> 24 == 127 { return false }
        return endpoint.address.isRefusedAsTarget || meshRanges.contains { $0.contains(endpoint.address) }
    }
}

extension IPAddress {
    /// Whether the address is of a private or shared network (RFC 1918, RFC 6598, RFC 4193): never a public NAT's, so
    /// no range of its ports is ever probed.
    package var isPrivate: Bool {
        switch self {
        case .v4(let address):
            let value = address.value
            return value >> 24 == 10 || value >> 20 == 0xac1 || value >> 16 == 0xc0a8 || value >> 22 == 0x191
        case .v6(let address): return address.high >> 57 == 0xfc >> 1
        }
    }
}
