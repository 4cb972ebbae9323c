/// SplitMix64: the same numbers from the same seed, on every machine.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }

    package mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    /// `bytes` with a few bits flipped, bytes overwritten, or the length changed.
    package mutating func mutated(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &self) {
            switch Int.random(in: 0..<5, using: &self) {
            case 0 where !bytes.isEmpty:
                bytes[Int.random(in: bytes.indices, using: &self)] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 1 where !bytes.isEmpty:
                bytes[Int.random(in: bytes.indices, using: &self)] = [0, 1, 0x7f, 0x80, 0xff].randomElement(
                    using: &self)!
            case 2: bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &self)))
            case 3: bytes += self.bytes(Int.random(in: 1...16, using: &self))
            default:
                if bytes.count > 4 { bytes.swapAt(3, Int.random(in: bytes.indices, using: &self)) }
            }
        }
        return bytes
    }
}
