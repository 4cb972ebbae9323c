/// BLAKE2s (RFC 7693), the hash of WireGuard: libsodium has only BLAKE2b.
///
/// Fill it with `update`, end it with `finish`, which also wipes it: it may have held a key. Not to be used after that.
package struct Blake2s: ~Copyable {
    package static let blockSize = 64
    package static let maximumSize = 32

    private var chain: (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32)
    private var block: [64 of UInt8] = .init(repeating: 0)
    /// How many bytes of `block` are filled: a full block waits, because the last one is compressed differently.
    private var filled = 0
    private var total: UInt64 = 0
    private let size: Int

    /// A hash whose digest has `size` bytes (1…32).
    package init(size: Int = maximumSize) { self.init(size: size, keySize: 0) }

    /// A keyed hash: a MAC of `size` bytes under `key`, which has 1 to 32 bytes (RFC 7693 section 2.9).
    package init(key: RawSpan, size: Int = maximumSize) {
        precondition((1...Self.maximumSize).contains(key.byteCount))
        self.init(size: size, keySize: key.byteCount)
        update(key)
        filled = Self.blockSize
    }

    private init(size: Int, keySize: Int) {
        precondition((1...Self.maximumSize).contains(size))
        self.size = size
        let parameters = 0x0101_0000 ^ UInt32(keySize) << 8 ^ UInt32(size)
        let iv = Self.iv
        chain = (iv.0 ^ parameters, iv.1, iv.2, iv.3, iv.4, iv.5, iv.6, iv.7)
    }

    /// Hashes `bytes` after what came before.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard var source = bytes.baseAddress else { return }
        var left = bytes.count
        while left > 0 {
            if filled == Self.blockSize {
                total += UInt64(Self.blockSize)
                compress(isLast: false)
                filled = 0
            }
            let count = min(left, Self.blockSize - filled)
            let offset = filled
            unsafe withUnsafeMutableBytes(of: &block) {
                unsafe ($0.baseAddress! + offset).copyMemory(from: source, byteCount: count)
            }
            filled += count
            left -= count
            unsafe source += count
        }
    }

    package mutating func update(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe update($0) }
    }

    package mutating func update(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { unsafe update($0) }
    }

    package mutating func update(_ bytes: Bytes32) {
        unsafe bytes.withUnsafeBytes { unsafe update($0) }
    }

    /// Writes the digest to the first `size` bytes of `output` and wipes this state.
    package mutating func finish(into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count >= size)
        total += UInt64(filled)
        let (used, count) = (filled, size)
        unsafe withUnsafeMutableBytes(of: &block) { block in
            for index in used..<Self.blockSize { unsafe block[index] = 0 }
        }
        compress(isLast: true)
        unsafe withUnsafeMutableBytes(of: &chain) { chain in
            for index in 0..<count { unsafe output[index] = chain[index] }
            unsafe wipe(chain)
        }
        unsafe withUnsafeMutableBytes(of: &block) { unsafe wipe($0) }
    }

    /// The 32-byte digest, for a state made with `size: 32`; wipes this state.
    package mutating func finish() -> Bytes32 {
        precondition(size == Self.maximumSize)
        return unsafe withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { output in
            unsafe finish(into: output)
            return unsafe Bytes32(loading: output.baseAddress!)
        }
    }

    /// The 32-byte hash of `first` followed by `second`.
    package static func hash(_ first: RawSpan, _ second: RawSpan = RawSpan()) -> Bytes32 {
        var state = Blake2s()
        state.update(first)
        state.update(second)
        return state.finish()
    }

    /// The keyed hash of `message`, 16 bytes long, as WireGuard's MAC fields are, in two words as they lie in memory.
    package static func mac(key: UnsafeRawBufferPointer, _ message: UnsafeRawBufferPointer) -> Bytes16 {
        var state = unsafe Blake2s(key: RawSpan(_unsafeBytes: key), size: 16)
        unsafe state.update(message)
        var output = Bytes16.zero
        unsafe output.withUnsafeMutableBytes { unsafe state.finish(into: $0) }
        return output
    }
}

// MARK: The compression function (RFC 7693 section 3)

extension Blake2s {
    private static var iv: (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32) {
        (
            0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a,
            0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19
        )
    }

    /// The sixteen working words. Scalars, not vectors or arrays: quick in debug builds too, registers in release ones.
    private struct Work {
        var v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15: UInt32
    }

    private mutating func compress(isLast: Bool) {
        let (h, iv) = (chain, Self.iv)
        var work = Work(
            v0: h.0, v1: h.1, v2: h.2, v3: h.3, v4: h.4, v5: h.5, v6: h.6, v7: h.7,
            v8: iv.0, v9: iv.1, v10: iv.2, v11: iv.3,
            v12: iv.4 ^ UInt32(truncatingIfNeeded: total), v13: iv.5 ^ UInt32(truncatingIfNeeded: total >> 32),
            v14: isLast ? ~iv.6 : iv.6, v15: iv.7)
        unsafe withUnsafeBytes(of: &block) { block in
            unsafe withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 16) { message in
                let m = message.baseAddress!
                unsafe UnsafeMutableRawPointer(m).copyMemory(from: block.baseAddress!, byteCount: Self.blockSize)
                unsafe Self.round(&work, m, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
                unsafe Self.round(&work, m, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
                unsafe Self.round(&work, m, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
                unsafe Self.round(&work, m, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
                unsafe Self.round(&work, m, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
                unsafe Self.round(&work, m, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
                unsafe Self.round(&work, m, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
                unsafe Self.round(&work, m, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
                unsafe Self.round(&work, m, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
                unsafe Self.round(&work, m, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
                unsafe wipe(UnsafeMutableRawBufferPointer(message))
            }
        }
        chain = (
            h.0 ^ work.v0 ^ work.v8, h.1 ^ work.v1 ^ work.v9, h.2 ^ work.v2 ^ work.v10, h.3 ^ work.v3 ^ work.v11,
            h.4 ^ work.v4 ^ work.v12, h.5 ^ work.v5 ^ work.v13, h.6 ^ work.v6 ^ work.v14, h.7 ^ work.v7 ^ work.v15
        )
    }

    /// One round: the columns, then the diagonals. The sixteen numbers are a row of the table SIGMA (section 2.7).
    @inline(__always)
    private static func round(
        _ w: inout Work, _ m: UnsafePointer<UInt32>, _ s0: Int, _ s1: Int, _ s2: Int, _ s3: Int, _ s4: Int, _ s5: Int,
        _ s6: Int, _ s7: Int, _ s8: Int, _ s9: Int, _ s10: Int, _ s11: Int, _ s12: Int, _ s13: Int, _ s14: Int,
        _ s15: Int
    ) {
        unsafe mix(&w.v0, &w.v4, &w.v8, &w.v12, m[s0], m[s1])
        unsafe mix(&w.v1, &w.v5, &w.v9, &w.v13, m[s2], m[s3])
        unsafe mix(&w.v2, &w.v6, &w.v10, &w.v14, m[s4], m[s5])
        unsafe mix(&w.v3, &w.v7, &w.v11, &w.v15, m[s6], m[s7])
        unsafe mix(&w.v0, &w.v5, &w.v10, &w.v15, m[s8], m[s9])
        unsafe mix(&w.v1, &w.v6, &w.v11, &w.v12, m[s10], m[s11])
        unsafe mix(&w.v2, &w.v7, &w.v8, &w.v13, m[s12], m[s13])
        unsafe mix(&w.v3, &w.v4, &w.v9, &w.v14, m[s14], m[s15])
    }

    /// The function G (section 3.1): rotations by 16, 12, 8 and 7 to the right.
    @inline(__always)
    private static func mix(
        _ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32, _ d: inout UInt32, _ x: UInt32, _ y: UInt32
    ) {
        a = a &+ b &+ x
        d ^= a
        d = d &>> 16 | d &<< 16
        c = c &+ d
        b ^= c
        b = b &>> 12 | b &<< 20
        a = a &+ b &+ y
        d ^= a
        d = d &>> 8 | d &<< 24
        c = c &+ d
        b ^= c
        b = b &>> 7 | b &<< 25
    }
}
