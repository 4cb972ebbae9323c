import CMnl

/// The attributes of a received message or nest, by type. Of several with one type the last counts.
///
/// Parsing stops at the first attribute whose length does not fit the bytes (mnl_attr_ok(3)).
package struct Attributes: Sendable {
    private var payloads: [UInt16: [UInt8]] = [:]

    /// - Parameter offset: where the attributes begin: the family header's size, a multiple of 4.
    package init(_ bytes: [UInt8], from offset: Int = 0) {
        guard offset < bytes.count else { return }
        unsafe bytes.withUnsafeBytes { bytes in
            var position = offset
            while bytes.count - position >= MemoryLayout<nlattr>.size {
                // Safe: a whole attribute header is left, and mnl_attr_ok checks the payload against what is left.
                let attribute = unsafe bytes.baseAddress!.advanced(by: position).assumingMemoryBound(to: nlattr.self)
                guard unsafe mnl_attr_ok(attribute, Int32(clamping: bytes.count - position)) else { return }
                let payload = unsafe UnsafeRawBufferPointer(
                    start: mnl_attr_get_payload(attribute), count: Int(mnl_attr_get_payload_len(attribute)))
                payloads[unsafe mnl_attr_get_type(attribute)] = unsafe Array(payload)
                position += (unsafe Int(mnl_attr_get_len(attribute)) + 3) & ~3
            }
        }
    }

    package subscript(_ type: some BinaryInteger) -> [UInt8]? { payloads[UInt16(truncatingIfNeeded: type)] }

    /// A number of four bytes in host order; nil when absent or of another size.
    package func number(_ type: some BinaryInteger) -> UInt32? {
        guard let bytes = self[type], bytes.count == 4 else { return nil }
        return unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: UInt32.self) }
    }

    package func byte(_ type: some BinaryInteger) -> UInt8? {
        guard let bytes = self[type], bytes.count == 1 else { return nil }
        return bytes[0]
    }

    /// Text up to its NUL.
    package func text(_ type: some BinaryInteger) -> String? {
        self[type].map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    package func nested(_ type: some BinaryInteger) -> Attributes? { self[type].map { Attributes($0) } }
}
