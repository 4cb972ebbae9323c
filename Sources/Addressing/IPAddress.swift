/// An address of either family.
package enum IPAddress: Hashable, Sendable, Comparable {
    case v4(IPv4Address)
    case v6(IPv6Address)

    package var isIPv6: Bool {
        if case .v6 = self { true } else { false }
    }

    /// 32 or 128.
    package var bitWidth: Int { isIPv6 ? 128 : 32 }

    /// 4 or 16 bytes in network order.
    package var bytes: [UInt8] {
        switch self {
        case .v4(let address): address.bytes
        case .v6(let address): address.bytes
        }
    }

    /// From 4 or 16 bytes in network order; nil for another length.
    package init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self = .v4(IPv4Address(value: bytes.reduce(0) { $0 << 8 | UInt32($1) }))
        case 16:
            guard let address = IPv6Address(bytes: bytes) else { return nil }
            self = .v6(address)
        default: return nil
        }
    }
}

extension IPAddress: CustomStringConvertible, LosslessStringConvertible {
    package var description: String {
        switch self {
        case .v4(let address): address.description
        case .v6(let address): address.description
        }
    }

    package init?(_ text: String) {
        if let address = IPv4Address(text) {
            self = .v4(address)
        } else if let address = IPv6Address(text) {
            self = .v6(address)
        } else {
            return nil
        }
    }
}

extension IPAddress {
    /// What must never be a target of ours because another agent named it: it would make us send to this host, this
    /// link, a group or a cloud's metadata service (RFC 6890; 169.254.169.254 and fd00:ec2::254 are metadata).
    package var isRefusedAsTarget: Bool {
        switch self {
        case .v4(let address):
            return switch address.value >> 24 {
            case 0, 127, 224...255: true
            default:
                address.value >> 16 == 0xa9fe  // 169.254/16, with 169.254.169.254
                    || address.value == 0x6464_64c8  // 100.100.100.200, metadata
            }
        case .v6(let address):
            if let mapped = address.embeddedIPv4 { return IPAddress.v4(mapped).isRefusedAsTarget }
            return address == .any || address == .loopback
                || address.high >> 56 == 0xff  // ff00::/8 multicast
                || address.high >> 54 == 0xfe80 >> 6  // fe80::/10 link-local
                || (address.high == 0xfd00_0ec2_0000_0000 && address.low == 0x254)
        }
    }
}

extension IPv6Address {
    /// The IPv4 address inside an IPv4-mapped (::ffff:0:0/96) or NAT64 well-known (64:ff9b::/96) address.
    package var embeddedIPv4: IPv4Address? {
        let isMapped = high == 0 && low >> 32 == 0xffff
        let isNAT64 = high == 0x0064_ff9b_0000_0000 && low >> 32 == 0
        return isMapped || isNAT64 ? IPv4Address(value: UInt32(truncatingIfNeeded: low)) : nil
    }
}

extension IPAddress {
    /// Whether the address is of a private or shared network (RFC 1918, RFC 6598, RFC 4193): what is
    /// seen from the Internet is a NAT's.
    package var isPrivate: Bool {
        switch self {
        case .v4(let address):
            let value = address.value
            return value >> 24 == 10 || value >> 20 == 0xac1 || value >> 16 == 0xc0a8 || value >> 22 == 0x191
        case .v6(let address): return address.high >> 57 == 0xfc >> 1
        }
    }
}
