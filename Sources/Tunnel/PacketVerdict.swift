/// Whether what was decrypted may go to the pod: asked once for each packet or coalesced run, which is always one flow.
///
/// There is no policy yet: everything that a peer may send at all (its allowed IPs) passes.
struct PacketVerdict {
    /// - Parameter packet: the first packet of the run, an IP packet whose source belongs to the peer that sent it.
    @inline(__always)
    func allows(_ packet: UnsafeRawBufferPointer) -> Bool { true }
}
