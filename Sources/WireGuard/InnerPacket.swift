/// What a tunnel needs to know of the packet it carries: family, length and addresses, from its IP header.
package struct InnerPacket {
    /// An address of either family as the 128 bits that `AllowedIPs` looks up: IPv4 is in the top 32 of `high`.
    package struct Address {
        package var high: UInt64
        package var low: UInt64
    }

    package let isIPv6: Bool
    /// The packet's length by its header, at most that of the buffer.
    package let length: Int
    /// Whether routers must not fragment it: IPv6, or IPv4 with don't-fragment.
    package let mustNotFragment: Bool
    package let source: Address
    package let destination: Address

    /// Nil when `packet` has no whole IPv4 or IPv6 header (RFC 791 3.1, RFC 8200 3) or is shorter than that says.
    package init?(_ packet: UnsafeRawBufferPointer) {
        guard packet.count >= 20, let base = packet.baseAddress else { return nil }
        let first = unsafe base.load(as: UInt8.self)
        switch first >> 4 {
        case 4:
            let headerLength = Int(first & 15) * 4
            length = Int(UInt16(bigEndian: unsafe base.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
            guard headerLength >= 20, length >= headerLength, length <= packet.count else { return nil }
            isIPv6 = false
            mustNotFragment = unsafe base.load(fromByteOffset: 6, as: UInt8.self) & 0x40 != 0
            source = unsafe Self.address4(base + 12)
            destination = unsafe Self.address4(base + 16)
        case 6:
            guard packet.count >= 40 else { return nil }
            length = 40 + Int(UInt16(bigEndian: unsafe base.loadUnaligned(fromByteOffset: 4, as: UInt16.self)))
            guard length <= packet.count else { return nil }
            isIPv6 = true
            mustNotFragment = true
            source = unsafe Self.address6(base + 8)
            destination = unsafe Self.address6(base + 24)
        default: return nil
        }
    }

    private static func address4(_ bytes: UnsafeRawPointer) -> Address {
        Address(high: UInt64(UInt32(bigEndian: unsafe bytes.loadUnaligned(as: UInt32.self))) << 32, low: 0)
    }

    private static func address6(_ bytes: UnsafeRawPointer) -> Address {
        Address(
            high: UInt64(bigEndian: unsafe bytes.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
}
