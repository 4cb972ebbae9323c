/// What relays, signals and records address: the first 16 bytes of BLAKE2b-256 of an agent's Ed25519 identity key.
///
/// It outlives every WireGuard key of the agent. `Sodium` computes it; here it is a plain value.
package struct AgentID: Hashable, Sendable, Comparable {
    /// Bytes 0…7 and 8…15, both big-endian.
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The id in the first 16 bytes of `bytes`; nil when there are fewer.
    package init?(_ bytes: RawSpan) {
        guard bytes.byteCount >= 16 else { return nil }
        high = UInt64(bigEndian: unsafe bytes.unsafeLoadUnaligned(as: UInt64.self))
        low = UInt64(bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    package var bytes: [UInt8] {
        unsafe withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { unsafe Array($0) }
    }

    package static func < (left: Self, right: Self) -> Bool { (left.high, left.low) < (right.high, right.low) }
}

extension AgentID: CustomStringConvertible, LosslessStringConvertible {
    /// 32 lower-case hexadecimal digits.
    package var description: String { Hexadecimal.encode(bytes) }

    package init?(_ description: String) {
        guard let bytes = Hexadecimal.decode(description), let id = AgentID(bytes) else { return nil }
        self = id
    }
}
