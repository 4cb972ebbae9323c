import Addressing

/// 32 public bytes: a public key or a hash, as a value that can be a dictionary key.
package struct Bytes32: Hashable, Sendable, Comparable {
    private let words: [4 of UInt64]

    package static let zero = Bytes32(storing: [0, 0, 0, 0])

    private init(storing words: [4 of UInt64]) { self.words = words }

    /// The first 32 bytes at `pointer`.
    package init(loading pointer: UnsafeRawPointer) {
        unsafe words = pointer.loadUnaligned(as: [4 of UInt64].self)
    }

    /// Nil unless `bytes` has exactly 32 bytes.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 32 else { return nil }
        let copy = Array(bytes)
        self = unsafe copy.withUnsafeBytes { unsafe Bytes32(loading: $0.baseAddress!) }
    }

    /// Nil unless `bytes` has exactly 32 bytes.
    package init?(_ bytes: RawSpan) {
        guard bytes.byteCount == 32 else { return nil }
        self = unsafe bytes.withUnsafeBytes { unsafe Bytes32(loading: $0.baseAddress!) }
    }

    package var bytes: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }

    /// Lends the 32 bytes; the pointer is valid only inside `body`.
    package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe Swift.withUnsafeBytes(of: words) { bytes throws(Failure) in try unsafe body(bytes) }
    }

    package var isZero: Bool { words[0] | words[1] | words[2] | words[3] == 0 }

    package static func == (left: Self, right: Self) -> Bool {
        (0..<4).allSatisfy { left.words[$0] == right.words[$0] }
    }

    package func hash(into hasher: inout Hasher) {
        for index in 0..<4 { hasher.combine(words[index]) }
    }

    package static func < (left: Self, right: Self) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }
}

extension Bytes32: CustomStringConvertible {
    /// 64 hexadecimal digits.
    package var description: String { Hexadecimal.encode(bytes) }

    /// Standard base64, as `wg` prints keys.
    package var base64: String { Base64.encode(bytes) }
}
