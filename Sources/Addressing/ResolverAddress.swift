/// Where a pod's resolver is: addresses on the pod's `lo` that no packet from outside can have.
///
/// The IPv4 one is link-local and the same in each mesh, so that a pod's resolv.conf can name it before anybody knows the
/// mesh's prefix, and where the pod has no IPv6 for other programs. The IPv6 one is `PREFIX::53`, in the mesh's block 0,
/// which no node gives out.
package enum ResolverAddress {
    package static let ipv4 = IPv4Address(169, 254, 53, 53)

    /// Nil for a range that is no IPv6 /48.
    package static func ipv6(inMesh range: IPPrefix) -> IPv6Address? {
        guard range.length == 48, case .v6(let base) = range.masked.address else { return nil }
        return IPv6Address(high: base.high, low: 0x53)
    }

    /// Whether an address of `lo` is one of these.
    package static func isOne(_ address: IPAddress) -> Bool {
        switch address {
        case .v4(let address): address == ipv4
        // A unique local address (RFC 4193) or any other unicast one, in block 0 of its /48.
        case .v6(let address): address.low == 0x53 && address.high & 0xffff == 0 && address.high != 0
        }
    }
}
