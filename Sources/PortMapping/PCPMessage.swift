import Addressing

/// The Port Control Protocol on the wire (RFC 6887 sections 7 and 11), as far as a client needs it.
///
///     request   version 2 (8), R 0 and opcode (8), reserved (16), lifetime (32), client address (128)
///     response  version 2 (8), R 1 and opcode (8), reserved (8), result (8), lifetime (32), epoch (32), reserved (96)
///     MAP       nonce (96), protocol (8), reserved (24), internal port (16), external port (16), external address (128)
enum PCP {
    static let version: UInt8 = 2
    static let port: UInt16 = 5351
    /// Where gateways announce themselves after a restart, to 224.0.0.1 (section 14.1).
    static let announcePort: UInt16 = 5350
    static let headerSize = 24
    static let mapSize = 60
    static let udp: UInt8 = 17

    enum Opcode: UInt8 { case announce = 0, map = 1 }

    /// Section 7.4.
    enum Result {
        static let success: UInt8 = 0
        static let unsupportedVersion: UInt8 = 1
        static let names: [UInt8: String] = [
            1: "unsupported version", 2: "not authorized", 3: "malformed request", 4: "unsupported opcode",
            5: "unsupported option", 6: "malformed option", 7: "network failure", 8: "no resources",
            9: "unsupported protocol", 10: "quota exceeded", 11: "cannot provide the external port",
            12: "address mismatch: there is another NAT between", 13: "excessive remote peers",
        ]
    }

    /// What a MAP request or response says about the mapping.
    struct Map: Equatable {
        var nonce: [UInt8]
        var internalPort: UInt16
        var externalPort: UInt16
        var externalAddress: IPAddress
    }

    struct Response: Equatable {
        var opcode: Opcode
        var result: UInt8
        var lifetime: UInt32
        var epoch: UInt32
        var map: Map?
    }

    static func announce(client: IPv4Address) -> [UInt8] { header(.announce, lifetime: 0, client) }

    /// A lifetime of 0 deletes.
    static func map(_ map: Map, lifetime: UInt32, client: IPv4Address) -> [UInt8] {
        header(.map, lifetime: lifetime, client) + map.nonce + [udp, 0, 0, 0]
            + [map.internalPort, map.externalPort].flatMap(bigEndian) + sixteen(map.externalAddress)
    }

    private static func header(_ opcode: Opcode, lifetime: UInt32, _ client: IPv4Address) -> [UInt8] {
        [version, opcode.rawValue, 0, 0] + bigEndian(lifetime) + sixteen(.v4(client))
    }

    /// An IPv4 address as an IPv4-mapped one (section 5).
    private static func sixteen(_ address: IPAddress) -> [UInt8] {
        switch address {
        case .v4(let v4): [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + v4.bytes
        case .v6(let v6): v6.bytes
        }
    }

    /// Nil for what is no response to ANNOUNCE or to a UDP MAP; options are ignored.
    static func response(_ bytes: RawSpan) -> Response? {
        guard bytes.byteCount % 4 == 0, bytes.byteCount <= 1100, bytes.bigEndian(UInt8.self, at: 0) == version,
            let second = bytes.bigEndian(UInt8.self, at: 1), second & 0x80 != 0,
            let opcode = Opcode(rawValue: second & 0x7f), let result = bytes.bigEndian(UInt8.self, at: 3),
            let lifetime = bytes.bigEndian(UInt32.self, at: 4), let epoch = bytes.bigEndian(UInt32.self, at: 8),
            bytes.byteCount >= headerSize
        else { return nil }
        var response = Response(opcode: opcode, result: result, lifetime: lifetime, epoch: epoch)
        guard opcode == .map else { return response }
        guard bytes.byteCount >= mapSize, bytes.bigEndian(UInt8.self, at: 36) == udp,
            let internalPort = bytes.bigEndian(UInt16.self, at: 40),
            let externalPort = bytes.bigEndian(UInt16.self, at: 42),
            let high = bytes.bigEndian(UInt64.self, at: 44), let low = bytes.bigEndian(UInt64.self, at: 52)
        else { return nil }
        let address = IPv6Address(high: high, low: low)
        let isMapped = high == 0 && low >> 32 == 0xffff
        response.map = Map(
            nonce: (24..<36).compactMap { bytes.bigEndian(UInt8.self, at: $0) }, internalPort: internalPort,
            externalPort: externalPort,
            externalAddress: isMapped ? .v4(IPv4Address(value: UInt32(truncatingIfNeeded: low))) : .v6(address))
        return response
    }
}

/// In network order.
func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    stride(from: value.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
}
