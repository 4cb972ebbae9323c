/// The Internet checksum (RFC 1071), over bytes as they lie in memory.
///
/// A ones' complement sum is the same in either byte order but for a swap of the result, so sums and checksums here are
/// in memory order: what `fold` and `finish` return is stored without a swap, and a number is added byte-swapped.
package enum Checksum {
    /// The unfolded sum of `count` bytes plus `initial`; an odd last byte counts as one followed by zero.
    ///
    /// Sums of parts may be added together when every part but the last has an even length.
    package static func sum(_ base: UnsafeRawPointer, _ count: Int, _ initial: UInt64 = 0) -> UInt64 {
        let mask = SIMD4<UInt64>(repeating: 0xffff_ffff)
        var even = SIMD4<UInt64>()
        var odd = SIMD4<UInt64>()
        var offset = 0
        while offset &+ 64 <= count {
            let first = unsafe base.loadUnaligned(fromByteOffset: offset, as: SIMD4<UInt64>.self)
            let second = unsafe base.loadUnaligned(fromByteOffset: offset &+ 32, as: SIMD4<UInt64>.self)
            even &+= first & mask
            odd &+= first &>> 32
            even &+= second & mask
            odd &+= second &>> 32
            offset &+= 64
        }
        even &+= odd
        var total = initial &+ even[0] &+ even[1] &+ even[2] &+ even[3]
        while offset &+ 8 <= count {
            let word = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            total &+= (word & 0xffff_ffff) &+ (word &>> 32)
            offset &+= 8
        }
        while offset &+ 2 <= count {
            total &+= UInt64(unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
            offset &+= 2
        }
        if offset < count { total &+= UInt64(unsafe base.load(fromByteOffset: offset, as: UInt8.self)) }
        return total
    }

    /// The sum as 16 bits. Not complemented: what a NEEDS_CSUM packet carries for its pseudo-header.
    @inline(__always)
    package static func fold(_ sum: UInt64) -> UInt16 {
        var folded = (sum & 0xffff_ffff) &+ (sum &>> 32)
        folded = (folded & 0xffff) &+ (folded &>> 16)
        folded = (folded & 0xffff) &+ (folded &>> 16)
        folded = (folded & 0xffff) &+ (folded &>> 16)
        return UInt16(truncatingIfNeeded: folded)
    }

    /// The checksum field for a sum over everything it covers with the field itself zero.
    @inline(__always)
    package static func finish(_ sum: UInt64) -> UInt16 { ~fold(sum) }

    /// The same for TCP and UDP: never zero, which in UDP says "no checksum" (RFC 768).
    @inline(__always)
    package static func finishTransport(_ sum: UInt64) -> UInt16 {
        let checksum = ~fold(sum)
        return checksum == 0 ? 0xffff : checksum
    }

    /// The checksum after one 16-bit word it covers changed (RFC 1624 equation 3). All in memory order.
    @inline(__always)
    package static func update(_ checksum: UInt16, replacing old: UInt16, with new: UInt16) -> UInt16 {
        ~fold(UInt64(~checksum) &+ UInt64(~old) &+ UInt64(new))
    }

    /// What `number`, a 16-bit field of a header, adds to a sum.
    @inline(__always)
    package static func term(_ number: UInt16) -> UInt64 { UInt64(number.bigEndian) }

    /// The sum of a pseudo-header (RFC 9293 3.1 for IPv4, RFC 8200 8.1 for IPv6).
    ///
    /// - Parameters:
    ///   - addresses: source and destination next to each other: 8 or 32 bytes.
    ///   - length: of the transport header and payload, below 65,536.
    @inline(__always)
    package static func pseudoHeader(
        _ addresses: UnsafeRawPointer, isIPv6: Bool, protocolNumber: UInt8, length: Int
    ) -> UInt64 {
        unsafe sum(addresses, isIPv6 ? 32 : 8) &+ term(UInt16(protocolNumber))
            &+ term(UInt16(truncatingIfNeeded: length))
    }
}
