import Addressing

/// The value of the attributes that carry an endpoint (RFC 8489 sections 14.1 and 14.2).
///
///      0                   1                   2                   3
///      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |0 0 0 0 0 0 0 0|    Family     |     Port (XOR the cookie)     |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |  Address: 32 bits (family 1) or 128 bits (family 2), XOR the   |
///     |  cookie and, for IPv6, the transaction id                      |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
enum AddressAttribute {
    /// The endpoint in `value`; nil unless family and length are right. `mask` is nil for the attributes without XOR.
    static func decode(_ value: RawSpan, mask: TransactionID?) -> Endpoint? {
        guard let family = value.bigEndian(UInt8.self, at: 1), let port = value.bigEndian(UInt16.self, at: 2) else {
            return nil
        }
        let endpoint: Endpoint
        switch (family, value.byteCount) {
        case (1, 8):
            guard let address = value.bigEndian(UInt32.self, at: 4) else { return nil }
            endpoint = Endpoint(.v4(IPv4Address(value: address)), port: port)
        case (2, 20):
            guard let high = value.bigEndian(UInt64.self, at: 4), let low = value.bigEndian(UInt64.self, at: 12) else {
                return nil
            }
            endpoint = Endpoint(.v6(IPv6Address(high: high, low: low)), port: port)
        default: return nil
        }
        return mask.map { masked(endpoint, with: $0) } ?? endpoint
    }

    /// The 8 or 20 bytes of the value for `endpoint`.
    static func encode(_ endpoint: Endpoint, mask: TransactionID?) -> [UInt8] {
        let endpoint = mask.map { masked(endpoint, with: $0) } ?? endpoint
        let port = [UInt8(endpoint.port >> 8), UInt8(truncatingIfNeeded: endpoint.port)]
        return [0, endpoint.address.isIPv6 ? 2 : 1] + port + endpoint.address.bytes
    }

    private static func masked(_ endpoint: Endpoint, with transaction: TransactionID) -> Endpoint {
        let cookie = Message.magicCookie
        let address: IPAddress =
            switch endpoint.address {
            case .v4(let address): .v4(IPv4Address(value: address.value ^ cookie))
            case .v6(let address):
                .v6(
                    IPv6Address(
                        high: address.high ^ (UInt64(cookie) << 32 | UInt64(transaction.high)),
                        low: address.low ^ transaction.low))
            }
        return Endpoint(address, port: endpoint.port ^ UInt16(cookie >> 16))
    }
}
