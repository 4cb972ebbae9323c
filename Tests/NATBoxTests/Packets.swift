import Addressing
import NATBox
import Testing

extension Packet {
    /// A UDP datagram with right checksums.
    static func udp(_ source: Place, _ destination: Place, payload: Int = 4) throws -> Packet {
        let length = 8 + payload
        var udp =
            Self.words([source.port, destination.port, UInt16(length), 0]) + [UInt8](repeating: 0x5a, count: payload)
        let pseudo = source.address.bytes + destination.address.bytes + Self.words([17, UInt16(length)])
        (udp[6], udp[7]) = Self.sum(pseudo + udp)
        return try #require(Packet(Self.header(17, source.address, destination.address, udp.count) + udp))
    }

    /// What a router says when a packet's time to live has ended.
    static func timeExceeded(about packet: Packet, from router: IPv4Address) throws -> Packet {
        var icmp: [UInt8] = [11, 0, 0, 0, 0, 0, 0, 0] + packet.bytes.prefix(28)
        (icmp[2], icmp[3]) = Self.sum(icmp)
        return try #require(Packet(Self.header(1, router, packet.source.address, icmp.count) + icmp))
    }

    /// The header's and the transport's, and those of what an error is about but for its transport's.
    var hasValidChecksums: Bool {
        guard Self.isZero(Array(bytes.prefix(20))) else { return false }
        let body = Array(bytes.dropFirst(20))
        if kind == .icmp {
            return Self.isZero(body) && (!isError || Self.isZero(Array(body[8..<28])))
        }
        let pseudo =
            source.address.bytes + destination.address.bytes + Self.words([UInt16(kind.rawValue), UInt16(body.count)])
        return Self.isZero(pseudo + body)
    }

    private static func header(_ kind: UInt8, _ source: IPv4Address, _ destination: IPv4Address, _ count: Int)
        -> [UInt8]
    {
        var bytes: [UInt8] = [0x45, 0] + words([UInt16(20 + count), 1, 0]) + [64, kind, 0, 0]
        bytes += source.bytes + destination.bytes
        (bytes[10], bytes[11]) = sum(bytes)
        return bytes
    }

    private static func words(_ words: [UInt16]) -> [UInt8] { words.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] } }

    private static func sum(_ bytes: [UInt8]) -> (UInt8, UInt8) {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() { sum += UInt32(byte) << (index % 2 == 0 ? 8 : 0) }
        while sum >> 16 != 0 { sum = (sum & 0xffff) + sum >> 16 }
        return (UInt8(~sum >> 8 & 255), UInt8(~sum & 255))
    }

    private static func isZero(_ bytes: [UInt8]) -> Bool { sum(bytes) == (0, 0) }
}
