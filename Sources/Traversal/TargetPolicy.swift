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
