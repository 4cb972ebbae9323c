/// The cryptokey routing table as packet threads see it: an immutable copy of `AllowedIPs`, with the peers' links in place
/// of their slots (WireGuard paper 2).
///
/// In memory of its own, so that a look-up counts no references. The links live at least as long as it is published.
@safe final class Routes: @unchecked Sendable {
    // Safe: filled in init, only read until deinit.
    private let nodes: UnsafeMutableBufferPointer<AllowedIPs.Node>
    private let links: UnsafeMutableBufferPointer<PeerReference?>
    /// Keeps alive what `links` refers to.
    private let owners: [PeerLink?]
    private let rootIPv4: Int32
    private let rootIPv6: Int32

    /// - Parameter links: by slot, for every slot that owns a prefix.
    init(_ table: borrowing AllowedIPs, links: [PeerLink?]) {
        unsafe nodes = table.copyNodes()
        unsafe self.links = .allocate(capacity: links.count)
        _ = unsafe self.links.initialize(from: links.map { $0.map { PeerReference($0) } })
        owners = links
        rootIPv4 = table.root(isIPv6: false)
        rootIPv6 = table.root(isIPv6: true)
    }

    deinit {
        unsafe nodes.deallocate()
        unsafe links.deallocate()
    }

    /// The peer that `address` belongs to, alive as long as this table.
    @inline(__always)
    func link(of address: InnerPacket.Address, isIPv6: Bool) -> PeerReference? {
        let owner = unsafe AllowedIPs.lookup(
            high: address.high, low: address.low, isIPv6: isIPv6, root: isIPv6 ? rootIPv6 : rootIPv4,
            nodes: UnsafeBufferPointer(nodes))
        guard owner >= 0, unsafe Int(owner) < links.count else { return nil }
        return unsafe links[Int(owner)]
    }
}
