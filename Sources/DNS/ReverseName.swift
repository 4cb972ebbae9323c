package import Addressing

/// What a name under in-addr.arpa or ip6.arpa stands for (RFC 1035 3.5, RFC 3596 2.5).
package enum ReverseName {
    private static let ipv4 = DomainName("in-addr.arpa") ?? .root
    private static let ipv6 = DomainName("ip6.arpa") ?? .root

    /// The address, as a prefix of its whole length, or the network that the labels so far are; nil for other names.
    package static func prefix(of name: DomainName) -> IPPrefix? {
        if let labels = name.labels(below: ipv6) {
            guard labels.count <= 32 else { return nil }
            var bytes = [UInt8](repeating: 0, count: 16)
            for (index, label) in labels.reversed().enumerated() {
                guard label.count == 1, let digit = label.first.flatMap(digit) else { return nil }
                bytes[index / 2] |= index % 2 == 0 ? digit << 4 : digit
            }
            return IPAddress(bytes: bytes).flatMap { IPPrefix($0, length: 4 * labels.count) }
        }
        if let labels = name.labels(below: ipv4) {
            guard labels.count <= 4 else { return nil }
            var bytes = [UInt8](repeating: 0, count: 4)
            for (index, label) in labels.reversed().enumerated() {
                guard let number = decimal(label) else { return nil }
                bytes[index] = number
            }
            return IPAddress(bytes: bytes).flatMap { IPPrefix($0, length: 8 * labels.count) }
        }
        return nil
    }

    /// The name of an address.
    package static func name(of address: IPAddress) -> DomainName { zone(of: IPPrefix(host: address)) }

    /// The zone that a prefix is delegated as: up to the next digit or number.
    package static func zone(of prefix: IPPrefix) -> DomainName {
        let bytes = prefix.address.bytes
        let labels: [[UInt8]]
        if prefix.address.isIPv6 {
            let digits = bytes.flatMap { [$0 >> 4, $0 & 15] }.prefix((prefix.length + 3) / 4)
            labels = digits.reversed().map { Array(String($0, radix: 16).utf8) }
        } else {
            labels = bytes.prefix((prefix.length + 7) / 8).reversed().map { Array(String($0).utf8) }
        }
        return DomainName(labels: labels, below: prefix.address.isIPv6 ? ipv6 : ipv4) ?? .root
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    private static func decimal(_ label: ArraySlice<UInt8>) -> UInt8? {
        guard label.count <= 3, label.count == 1 || label.first != UInt8(ascii: "0") else { return nil }
        var number = 0
        for byte in label {
            guard let digit = digit(byte), digit < 10 else { return nil }
            number = number * 10 + Int(digit)
        }
        return UInt8(exactly: number)
    }
}
