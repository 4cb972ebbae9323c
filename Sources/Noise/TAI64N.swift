/// An external TAI64N label, 12 bytes: seconds since 1970 TAI plus 2^62 and nanoseconds, both big-endian.
///
/// Initiations carry one that only grows, so that a replayed initiation is known. The zero value is before all others.
package struct TAI64N: Hashable, Comparable, Sendable {
    package static let size = 12
    /// Stamps are cut to 2^24 ns (16.8 ms), so that they tell little about the clock (as in the kernel's WireGuard).
    package static let granularity: UInt32 = 1 << 24

    package let seconds: UInt64
    package let nanoseconds: UInt32

    package static let zero = TAI64N(seconds: 0, nanoseconds: 0)

    private init(seconds: UInt64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// The whitened stamp of a wall-clock time, given in seconds and nanoseconds (below 10^9) since 1970 UTC.
    package init(unixSeconds: Int64, nanoseconds: UInt32) {
        // 10 s: the leap seconds of 1972; those since are left out, as everybody does.
        seconds = 0x4000_0000_0000_000a &+ UInt64(bitPattern: unixSeconds)
        self.nanoseconds = nanoseconds & ~(Self.granularity - 1)
    }

    /// The stamp in exactly 12 bytes, as they came; nil for another length.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.size else { return nil }
        seconds = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        nanoseconds = bytes.suffix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    package var bytes: [UInt8] {
        unsafe withUnsafeBytes(of: seconds.bigEndian) { unsafe Array($0) }
            + withUnsafeBytes(of: nanoseconds.bigEndian) { unsafe Array($0) }
    }

    /// This stamp if it is later than `last`, else the least whitened one that is: stamps grow even where the clock
    /// goes back.
    package func after(_ last: TAI64N) -> TAI64N {
        if self > last { return self }
        let next = (last.nanoseconds & ~(Self.granularity - 1)) + Self.granularity
        return next < 1_000_000_000
            ? TAI64N(seconds: last.seconds, nanoseconds: next)
            : TAI64N(seconds: last.seconds + 1, nanoseconds: 0)
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}
