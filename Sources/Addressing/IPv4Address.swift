import Glibc

/// An IPv4 address. The zero value is 0.0.0.0.
package struct IPv4Address: Hashable, Sendable, Comparable {
    /// The address as a number in host order: 10.0.0.1 is 0x0a00_0001.
    package var value: UInt32

    package init(value: UInt32) { self.value = value }
    package init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
        value = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
    }

    package static let any = IPv4Address(value: 0)

    /// The four bytes in network order.
    package var bytes: [UInt8] { unsafe withUnsafeBytes(of: value.bigEndian) { unsafe Array($0) } }

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}

extension IPv4Address: CustomStringConvertible, LosslessStringConvertible {
    package var description: String {
        "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255)"
    }

    /// Dotted decimal with four parts (inet_pton(3)).
    package init?(_ text: String) {
        var address = in_addr()
        guard unsafe inet_pton(AF_INET, text, &address) == 1 else { return nil }
        value = UInt32(bigEndian: address.s_addr)
    }
}
