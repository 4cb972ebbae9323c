import Addressing

/// An endpoint in one word: an IPv4 address, or the low 32 bits of one in 2001:db8::/96 with bit 32 set, and the port.
struct SimulatedAddress: Hashable {
    let raw: UInt64

    init(_ address: UInt64, _ port: UInt16) { raw = address << 16 | UInt64(port) }

    init(_ endpoint: Endpoint) {
        switch endpoint.address {
        case .v4(let address): self.init(UInt64(address.value), endpoint.port)
        case .v6(let address): self.init(Self.isIPv6 | address.low & 0xffff_ffff, endpoint.port)
        }
    }

    static let isIPv6: UInt64 = 1 << 32

    var address: UInt64 { raw >> 16 }
    var port: UInt16 { UInt16(truncatingIfNeeded: raw) }

    static func ipAddress(_ address: UInt64) -> IPAddress {
        address & isIPv6 == 0
            ? .v4(IPv4Address(value: UInt32(truncatingIfNeeded: address)))
            : .v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: address & 0xffff_ffff))
    }

    var endpoint: Endpoint { Endpoint(Self.ipAddress(address), port: port) }
}

/// What a session is looked up by.
struct SimulatedFlow: Hashable {
    let near: SimulatedAddress
    let far: SimulatedAddress

    init(_ near: SimulatedAddress, _ far: SimulatedAddress) {
        self.near = near
        self.far = far
    }
}
