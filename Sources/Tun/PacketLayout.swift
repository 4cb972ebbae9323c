/// Where the headers of a TCP or UDP packet are: offsets proved against the packet's length.
struct PacketLayout: Equatable {
    static let tcp: UInt8 = 6
    static let udp: UInt8 = 17

    let isIPv6: Bool
    /// 6 or 17.
    let protocolNumber: UInt8
    /// Offset of the TCP or UDP header.
    let transport: Int
    /// Offset of the payload.
    let payload: Int
    /// Bytes of the whole IP packet.
    let length: Int

    @inline(__always)
    var isTCP: Bool { protocolNumber == Self.tcp }
    /// Offset of the addresses, which are next to each other in both families.
    @inline(__always)
    var addresses: Int { isIPv6 ? 8 : 12 }
    /// Offset of the checksum field in the transport header: virtio's `csum_offset`.
    @inline(__always)
    var checksumOffset: Int { isTCP ? 16 : 6 }

    /// The IP packet's own length, which may leave padding behind it; not more than `packet.count`.
    @inline(__always)
    static func ipLength(_ packet: PacketBytes) throws(PacketFault) -> Int {
        guard packet.count >= 20 else { throw .truncated }
        switch packet.byte(0) &>> 4 {
        case 4:
            let header = Int(packet.byte(0) & 15) &* 4
            let length = Int(packet.word16(2))
            guard header >= 20, length >= header else { throw .notIP }
            guard length <= packet.count else { throw .truncated }
            return length
        case 6:
            guard packet.count >= 40 else { throw .truncated }
            let length = Int(packet.word16(4)) &+ 40
            guard length <= packet.count else { throw .truncated }
            return length
        default: throw .notIP
        }
    }

    /// Parses an unfragmented TCP or UDP packet. IPv4 options, and hop-by-hop and destination options of IPv6, are part
    /// of the header; other extension headers are refused.
    init(_ packet: PacketBytes) throws(PacketFault) {
        length = try Self.ipLength(packet)
        isIPv6 = packet.byte(0) &>> 4 == 6
        if isIPv6 {
            var next = packet.byte(6)
            var offset = 40
            while next == 0 || next == 60 {
                guard offset &+ 8 <= length else { throw .truncated }
                next = packet.byte(offset)
                offset &+= (Int(packet.byte(offset &+ 1)) &+ 1) &* 8
            }
            guard next != 44 else { throw .fragment }
            protocolNumber = next
            transport = offset
        } else {
            // More-fragments or an offset: anything but don't-fragment.
            guard packet.word16(6) & 0x3fff == 0 else { throw .fragment }
            protocolNumber = packet.byte(9)
            transport = Int(packet.byte(0) & 15) &* 4
        }
        if protocolNumber == Self.tcp {
            guard transport &+ 20 <= length else { throw .truncated }
            let header = Int(packet.byte(transport &+ 12) &>> 4) &* 4
            guard header >= 20, transport &+ header <= length else { throw .badTransportHeader }
            payload = transport &+ header
        } else if protocolNumber == Self.udp {
            guard transport &+ 8 <= length else { throw .truncated }
            payload = transport &+ 8
        } else {
            throw isIPv6 && Self.isExtension(protocolNumber) ? .extensionHeader : .wrongProtocol
        }
    }

    /// Routing, ESP, AH, mobility, HIP, shim6.
    private static func isExtension(_ number: UInt8) -> Bool {
        switch number {
        case 43, 50, 51, 135, 139, 140: true
        default: false
        }
    }
}
