package import Addressing

/// An IPv4 packet that can be translated: headers checked, checksums kept right by each change (RFC 1624).
package struct Packet: Sendable, Equatable {
    package enum Kind: UInt8, Sendable, Hashable {
        case icmp = 1
        case tcp = 6
        case udp = 17
    }

    /// An address and a port; for an ICMP echo its identifier is the port of whoever asks.
    package struct Place: Hashable, Sendable {
        package var address: IPv4Address
        package var port: UInt16

        package init(_ address: IPv4Address, _ port: UInt16) {
            self.address = address
            self.port = port
        }
    }

    package private(set) var bytes: [UInt8]
    package let kind: Kind
    let header: Int
    /// For an ICMP error: where the packet it is about begins.
    let cited: Int?

    /// Nil for what is no whole IPv4 packet of the three protocols, or a fragment.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count >= 20, bytes[0] >> 4 == 4, let kind = Kind(rawValue: bytes[9]) else { return nil }
        let header = Int(bytes[0] & 15) * 4
        guard header >= 20, Self.word(bytes, 2) <= UInt16(clamping: bytes.count) else { return nil }
        guard Self.word(bytes, 6) & 0x3fff == 0 else { return nil }
        let least = kind == .tcp ? 20 : 8
        guard bytes.count >= header + least else { return nil }
        self.bytes = bytes
        self.kind = kind
        self.header = header
        guard kind == .icmp else {
            cited = nil
            return
        }
        switch bytes[header] {
        case 0, 8: cited = nil
        case 3, 11, 12:
            let inner = header + 8
            guard bytes.count >= inner + 28, bytes[inner] >> 4 == 4 else { return nil }
            let length = Int(bytes[inner] & 15) * 4
            guard length >= 20, bytes.count >= inner + length + 8, Kind(rawValue: bytes[inner + 9]) != nil else {
                return nil
            }
            cited = inner
        default: return nil
        }
    }

    package var isError: Bool { cited != nil }
    package var count: Int { bytes.count }

    package var source: Place {
        get { place(12, port: sourcePortOffset) }
        set { write(newValue, 12, port: sourcePortOffset) }
    }

    package var destination: Place {
        get { place(16, port: destinationPortOffset) }
        set { write(newValue, 16, port: destinationPortOffset) }
    }

    private var isEchoReply: Bool { kind == .icmp && bytes[header] == 0 }
    /// An echo has one identifier: its asker's.
    private var sourcePortOffset: Int? {
        switch kind {
        case .tcp, .udp: header
        case .icmp: isEchoReply || isError ? nil : header + 4
        }
    }
    private var destinationPortOffset: Int? {
        switch kind {
        case .tcp, .udp: header + 2
        case .icmp: isEchoReply ? header + 4 : nil
        }
    }

    private func place(_ address: Int, port: Int?) -> Place {
        Place(
            IPv4Address(value: UInt32(Self.word(bytes, address)) << 16 | UInt32(Self.word(bytes, address + 2))),
            port.map { Self.word(bytes, $0) } ?? 0)
    }

    private mutating func write(_ place: Place, _ address: Int, port: Int?) {
        for (offset, value) in [(address, place.address.value >> 16), (address + 2, place.address.value & 0xffff)] {
            let old = put(UInt16(value), at: offset)
            amend(header: 10, old, UInt16(value))
            if kind != .icmp { amendTransport(old, UInt16(value)) }
        }
        guard let port else { return }
        let old = put(place.port, at: port)
        amendTransport(old, place.port)
    }

    private mutating func put(_ word: UInt16, at offset: Int) -> UInt16 {
        let old = Self.word(bytes, offset)
        (bytes[offset], bytes[offset + 1]) = (UInt8(word >> 8), UInt8(word & 255))
        return old
    }

    private mutating func amendTransport(_ old: UInt16, _ new: UInt16) {
        switch kind {
        case .tcp: amend(header: header + 16, old, new)
        // Zero says that a UDP datagram has no checksum (RFC 768).
        case .udp where Self.word(bytes, header + 6) == 0: break
        case .udp:
            amend(header: header + 6, old, new)
            if Self.word(bytes, header + 6) == 0 { _ = put(0xffff, at: header + 6) }
        case .icmp: amend(header: header + 2, old, new)
        }
    }

    /// RFC 1624, equation 3.
    private mutating func amend(header offset: Int, _ old: UInt16, _ new: UInt16) {
        var sum = UInt32(~Self.word(bytes, offset)) + UInt32(~old) + UInt32(new)
        sum = (sum & 0xffff) + sum >> 16
        sum = (sum & 0xffff) + sum >> 16
        _ = put(~UInt16(truncatingIfNeeded: sum), at: offset)
    }

    static func word(_ bytes: [UInt8], _ offset: Int) -> UInt16 {
        UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
    }
}

// MARK: - Errors about packets

extension Packet {
    /// The protocol, source and destination of the packet that an error is about.
    package var citedFlow: (kind: Kind, source: Place, destination: Place)? {
        guard let cited, let kind = Kind(rawValue: bytes[cited + 9]) else { return nil }
        let transport = cited + Int(bytes[cited] & 15) * 4
        if kind == .icmp {
            let identifier = Self.word(bytes, transport + 4)
            return (kind, Place(address(cited + 12), identifier), Place(address(cited + 16), 0))
        }
        return (
            kind, Place(address(cited + 12), Self.word(bytes, transport)),
            Place(address(cited + 16), Self.word(bytes, transport + 2))
        )
    }

    /// Puts another source, or destination, into the packet that the error is about, and makes its checksums right.
    package mutating func setCited(source: Place? = nil, destination: Place? = nil) {
        guard let cited, let kind = Kind(rawValue: bytes[cited + 9]) else { return }
        let transport = cited + Int(bytes[cited] & 15) * 4
        for (place, address, port) in [
            (source, cited + 12, kind == .icmp ? transport + 4 : transport), (destination, cited + 16, transport + 2),
        ] {
            guard let place else { continue }
            _ = put(UInt16(place.address.value >> 16), at: address)
            _ = put(UInt16(place.address.value & 0xffff), at: address + 2)
            if kind != .icmp || address == cited + 12 { _ = put(place.port, at: port) }
        }
        _ = put(0, at: cited + 10)
        _ = put(Self.checksum(bytes[cited..<transport]), at: cited + 10)
        _ = put(0, at: header + 2)
        _ = put(Self.checksum(bytes[header...]), at: header + 2)
    }

    private func address(_ offset: Int) -> IPv4Address {
        IPv4Address(value: UInt32(Self.word(bytes, offset)) << 16 | UInt32(Self.word(bytes, offset + 2)))
    }

    /// The Internet checksum (RFC 1071).
    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() { sum += UInt32(byte) << (index % 2 == 0 ? 8 : 0) }
        while sum >> 16 != 0 { sum = (sum & 0xffff) + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }
}
