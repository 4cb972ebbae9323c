import TestSupport
import Testing
import Tun

@Suite struct ChecksumTests {
    private func checksum(_ bytes: [UInt8]) -> UInt16 {
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe bytes.baseAddress.map { unsafe Checksum.finish(Checksum.sum($0, bytes.count)).bigEndian } ?? 0xffff
        }
    }

    @Test func `the example of RFC 1071 sums to ddf2`() {
        // 0001 f203 f4f5 f6f7
        #expect(checksum([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]) == ~0xddf2)
    }

    @Test func `it equals sixteen bits at a time for every length and alignment`() {
        var random = SeededRandom(seed: 1)
        let bytes = random.bytes(2100)
        for length in Array(0..<300) + [1419, 1420, 1421, 1499, 2047] {
            for offset in [0, 1, 3, 8, 33] {
                let part = Array(bytes[offset..<(offset + length)])
                let sum = unsafe bytes.withUnsafeBytes { bytes in
                    unsafe bytes.baseAddress.map { unsafe Checksum.sum($0 + offset, length) } ?? 0
                }
                #expect(Checksum.finish(sum).bigEndian == naiveChecksum(part), "length \(length) offset \(offset)")
            }
        }
    }

    @Test func `all ones, the largest sum, folds right`() {
        for length in [65535, 65534, 64] {
            let bytes = [UInt8](repeating: 0xff, count: length)
            #expect(checksum(bytes) == naiveChecksum(bytes))
        }
    }

    @Test func `parts of even length add up`() {
        var random = SeededRandom(seed: 2)
        for _ in 0..<200 {
            let bytes = random.bytes(Int.random(in: 2...600, using: &random))
            let cut = Int.random(in: 0...bytes.count, using: &random) & ~1
            let sum = unsafe bytes.withUnsafeBytes { bytes in
                unsafe bytes.baseAddress.map {
                    unsafe Checksum.sum($0 + cut, bytes.count - cut, Checksum.sum($0, cut))
                } ?? 0
            }
            #expect(Checksum.finish(sum).bigEndian == naiveChecksum(bytes))
        }
    }

    @Test func `an incremental update equals a new sum`() {
        var random = SeededRandom(seed: 3)
        for _ in 0..<2000 {
            var bytes = random.bytes(20)
            let before = checksum(bytes).bigEndian
            let at = Int.random(in: 0..<10, using: &random) * 2
            let old = UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
            let new = UInt16.random(in: 0...0xffff, using: &random)
            bytes[at] = UInt8(truncatingIfNeeded: new)
            bytes[at + 1] = UInt8(new >> 8)
            #expect(Checksum.update(before, replacing: old, with: new) == checksum(bytes).bigEndian)
        }
    }

    @Test func `a transport checksum is never zero`() {
        #expect(Checksum.finishTransport(0xffff) == 0xffff)
        #expect(Checksum.finishTransport(0) == 0xffff)
        #expect(Checksum.finishTransport(1) == 0xfffe)
    }
}
