import CSodium

/// 16 bytes that hold a MAC or a cookie: compared in constant time.
package struct Bytes16: Sendable {
    private var words: (UInt64, UInt64)

    package static let zero = Bytes16(words: (0, 0))

    private init(words: (UInt64, UInt64)) { self.words = words }

    /// The first 16 bytes at `pointer`.
    package init(loading pointer: UnsafeRawPointer) {
        unsafe words = (
            pointer.loadUnaligned(as: UInt64.self), pointer.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        )
    }

    package var isZero: Bool { words.0 | words.1 == 0 }

    package var bytes: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }

    /// Lends the 16 bytes; the pointer is valid only inside `body`.
    package func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe Swift.withUnsafeBytes(of: words) { bytes throws(Failure) in try unsafe body(bytes) }
    }

    package mutating func withUnsafeMutableBytes<Result, Failure: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe Swift.withUnsafeMutableBytes(of: &words) { bytes throws(Failure) in try unsafe body(bytes) }
    }

    /// Whether both are equal, in constant time.
    package func isEqual(to other: Bytes16) -> Bool {
        (words.0 ^ other.words.0) | (words.1 ^ other.words.1) == 0
    }
}
