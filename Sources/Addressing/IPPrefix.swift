/// An address and a prefix length, as in `10.0.0.0/8`. Host bits are kept: see `masked`.
package struct IPPrefix: Hashable, Sendable, Comparable {
    package let address: IPAddress
    /// 0…32 or 0…128.
    package let length: Int

    /// Nil when `length` does not fit the address's family.
    package init?(_ address: IPAddress, length: Int) {
        guard (0...address.bitWidth).contains(length) else { return nil }
        self.address = address
        self.length = length
    }

    /// The prefix that holds only `address`.
    package init(host address: IPAddress) {
        self.address = address
        length = address.bitWidth
    }

    /// The same prefix with its host bits zero: the network.
    package var masked: IPPrefix {
        switch address {
        case .v4(let v4):
            let mask = length == 0 ? 0 : UInt32.max << UInt32(32 - length)
            return IPPrefix(.v4(IPv4Address(value: v4.value & mask)), length: length) ?? self
        case .v6(let v6):
            let high = length == 0 ? 0 : UInt64.max << UInt64(64 - min(length, 64))
            let low = length <= 64 ? 0 : UInt64.max << UInt64(128 - length)
            return IPPrefix(.v6(IPv6Address(high: v6.high & high, low: v6.low & low)), length: length) ?? self
        }
    }

    package var isHost: Bool { length == address.bitWidth }

    package func contains(_ other: IPAddress) -> Bool {
        guard let host = IPPrefix(other, length: min(length, other.bitWidth)) else { return false }
        return other.isIPv6 == address.isIPv6 && host.masked == masked
    }

    /// Whether every address of `other` is in this prefix.
    package func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }

    package func overlaps(_ other: IPPrefix) -> Bool { contains(other) || other.contains(self) }

    package static func < (left: Self, right: Self) -> Bool {
        (left.address, left.length) < (right.address, right.length)
    }
}

extension IPPrefix: CustomStringConvertible, LosslessStringConvertible {
    package var description: String { "\(address)/\(length)" }

    /// `ADDRESS/LENGTH`, or a bare address for the host prefix.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        if parts.count == 1 {
            self.init(host: address)
        } else {
            guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let length = Int(parts[1]) else {
                return nil
            }
            self.init(address, length: length)
        }
    }
}
