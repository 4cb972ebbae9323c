/// The 96-bit number that ties a response to its request (RFC 8489 section 5).
///
/// Drawn at random for each request: who can't see the request can't guess it.
package struct TransactionID: Hashable, Sendable {
    /// Bytes 0…3 and 4…11, both big-endian.
    package let high: UInt32
    package let low: UInt64

    package init(high: UInt32, low: UInt64) {
        self.high = high
        self.low = low
    }

    package init(using random: inout some RandomNumberGenerator) {
        high = UInt32(truncatingIfNeeded: random.next())
        low = random.next()
    }
}
