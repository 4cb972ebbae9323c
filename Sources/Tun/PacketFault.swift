/// Why a packet was dropped by the offload code. Counted, never logged one by one.
package enum PacketFault: UInt8, Error, CaseIterable, Sendable {
    /// Fewer bytes than its headers say, or no room behind it.
    case truncated
    /// Neither IPv4 nor IPv6, or an impossible IP header length.
    case notIP
    /// The IP length of a super-packet is not that of the packet.
    case lengthMismatch
    /// `csum_start` and `csum_offset` point outside the packet.
    case checksumOutOfRange
    /// A super-packet with `gso_size` 0.
    case zeroSegmentSize
    /// A `gso_type` that was not asked for.
    case unknownOffload
    /// A super-packet that is a fragment.
    case fragment
    /// A super-packet with an extension header that can't be copied to each segment.
    case extensionHeader
    /// A super-packet whose protocol is not that of its `gso_type`.
    case wrongProtocol
    /// A TCP data offset below 5 or beyond the packet.
    case badTransportHeader
}
