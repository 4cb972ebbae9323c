package import Addressing
package import Timing

/// A rate limit per source address in constant memory, for what answers senders that have proven nothing.
///
/// A table of token buckets in two rows; an address (an IPv6 /64) has one bucket in each, found by a hash keyed at
/// random, and passes while either holds a token. A flood from one address so stops only itself: to be stopped by it,
/// another must share both buckets. Nothing is stored per address. Not safe for concurrent use.
package struct SourceLimiter: Sendable {
    private let limit: TokenBucket.Limit
    private let keys: (UInt64, UInt64)
    private let rowMask: Int
    private var buckets: [TokenBucket]

    /// `rowSize` is rounded up to a power of two; a bucket takes 16 bytes and there are two rows.
    package init(
        limit: TokenBucket.Limit, rowSize: Int = 4096, now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        self.limit = limit
        keys = (random.next(), random.next())
        var size = 1
        while size < rowSize { size *= 2 }
        rowMask = size - 1
        buckets = Array(repeating: TokenBucket(full: limit, now: now), count: 2 * size)
    }

    /// Whether another question of `source` may be answered now; takes `units` tokens if so.
    package mutating func allows(_ source: IPAddress, units: UInt64 = 1, now: MonotonicTime) -> Bool {
        let hash = hash(source)
        let first = Int(truncatingIfNeeded: hash) & rowMask
        let second = rowMask + 1 + Int(truncatingIfNeeded: hash >> 32) & rowMask
        let inFirst = buckets[first].take(units, limit: limit, now: now)
        let inSecond = buckets[second].take(units, limit: limit, now: now)
        return inFirst || inSecond
    }

    private func hash(_ source: IPAddress) -> UInt64 {
        let value: UInt64 =
            switch source {
            case .v4(let address): UInt64(address.value)
            case .v6(let address): address.high
            }
        let once = Self.fold(value ^ keys.0, 0x9e37_79b9_7f4a_7c15 ^ keys.1)
        return Self.fold(once ^ keys.1, 0xd1b5_4a32_d192_ed03 ^ keys.0 | 1)
    }

    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }
}
