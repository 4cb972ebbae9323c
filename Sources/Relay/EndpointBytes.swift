package import Addressing

/// An endpoint in 18 bytes, as frames carry and cookies and signatures cover it.
///
///     address (16, IPv4 as ::ffff:a.b.c.d) | port (2)
package enum EndpointBytes {
    package static let size = 18

    package static func encode(_ endpoint: Endpoint) -> [UInt8] {
        let address: IPv6Address =
            switch endpoint.address {
            case .v4(let address): IPv6Address(high: 0, low: 0xffff_0000_0000 | UInt64(address.value))
            case .v6(let address): address
            }
        return address.bytes + [UInt8(endpoint.port >> 8), UInt8(truncatingIfNeeded: endpoint.port)]
    }

    /// The endpoint at `offset`; nil where it would reach past the end.
    package static func decode(_ bytes: RawSpan, at offset: Int) -> Endpoint? {
        guard let high = bytes.bigEndian(UInt64.self, at: offset),
            let low = bytes.bigEndian(UInt64.self, at: offset + 8),
            let port = bytes.bigEndian(UInt16.self, at: offset + 16)
        else { return nil }
        if high == 0, low >> 32 == 0xffff {
            return Endpoint(.v4(IPv4Address(value: UInt32(truncatingIfNeeded: low))), port: port)
        }
        return Endpoint(.v6(IPv6Address(high: high, low: low)), port: port)
    }
}
