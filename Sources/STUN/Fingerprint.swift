/// The check value that tells STUN from other protocols on one port (RFC 8489 section 14.7): the CRC-32 of the message
/// up to the attribute, XOR 0x5354554e.
enum Fingerprint {
    static let mask: UInt32 = 0x5354_554e
    /// With its attribute header.
    static let attributeSize = 8

    /// The value for the first `count` bytes of `message`.
    static func value(of message: RawSpan, count: Int) -> UInt32 { crc32(message, count: count) ^ mask }

    /// CRC-32 as in ITU V.42 (reflected, polynomial 0x04c11db7).
    private static func crc32(_ bytes: RawSpan, count: Int) -> UInt32 {
        var crc: UInt32 = .max
        for offset in 0..<min(count, bytes.byteCount) {
            let byte = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
            crc = table[Int((crc ^ UInt32(byte)) & 0xff)] ^ (crc >> 8)
        }
        return ~crc
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
}
