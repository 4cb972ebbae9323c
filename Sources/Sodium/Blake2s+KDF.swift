// HMAC-BLAKE2s and the key derivation of Noise and WireGuard. Secrets go from slab to slab; what touches the stack
// between is wiped.

extension Blake2s {
    /// HMAC (RFC 2104) with BLAKE2s: 32 bytes over `first` followed by `second`. The key has at most 64 bytes.
    package static func hmac(
        key: UnsafeRawBufferPointer, _ first: UnsafeRawBufferPointer,
        _ second: UnsafeRawBufferPointer = unsafe UnsafeRawBufferPointer(start: nil, count: 0),
        into output: UnsafeMutableRawBufferPointer
    ) {
        precondition(key.count <= blockSize)
        unsafe withUnsafeTemporaryAllocation(byteCount: blockSize, alignment: 8) { pad in
            for index in 0..<blockSize { unsafe pad[index] = 0x36 ^ (index < key.count ? unsafe key[index] : 0) }
            var inner = Blake2s()
            unsafe inner.update(UnsafeRawBufferPointer(pad))
            unsafe inner.update(first)
            unsafe inner.update(second)
            // 0x36 ^ 0x5c turns the inner pad into the outer one.
            for index in 0..<blockSize { unsafe pad[index] ^= 0x6a }
            var outer = Blake2s()
            unsafe outer.update(UnsafeRawBufferPointer(pad))
            unsafe inner.finish(into: pad)
            unsafe outer.update(UnsafeRawBufferPointer(rebasing: pad[..<maximumSize]))
            unsafe outer.finish(into: output)
            unsafe wipe(pad)
        }
    }

    /// KDF1 of the paper: replaces `chainingKey` by the one that also depends on `input` (WireGuard paper 5.4).
    package static func derive(_ chainingKey: inout SecretKey, input: UnsafeRawBufferPointer) {
        unsafe expand(&chainingKey, input: input, count: 0) { _ in }
    }

    /// KDF2: replaces `chainingKey` and `key`.
    package static func derive(
        _ chainingKey: inout SecretKey, _ key: inout SecretKey, input: UnsafeRawBufferPointer
    ) {
        unsafe expand(&chainingKey, input: input, count: 1) { unsafe store($0, 0, in: &key) }
    }

    /// KDF3: replaces `chainingKey`, `first` and `second`.
    package static func derive(
        _ chainingKey: inout SecretKey, _ first: inout SecretKey, _ second: inout SecretKey,
        input: UnsafeRawBufferPointer
    ) {
        unsafe expand(&chainingKey, input: input, count: 2) { outputs in
            unsafe store(outputs, 0, in: &first)
            unsafe store(outputs, 1, in: &second)
        }
    }

    private static func store(_ outputs: UnsafeRawBufferPointer, _ index: Int, in key: inout SecretKey) {
        unsafe key.withMutableBytes {
            unsafe UnsafeMutableRawPointer($0)
                .copyMemory(from: outputs.baseAddress! + index * maximumSize, byteCount: maximumSize)
        }
    }

    /// HKDF (RFC 5869) with HMAC-BLAKE2s and no info: the first output replaces `chainingKey`, the next `count` are lent
    /// to `body`.
    private static func expand(
        _ chainingKey: inout SecretKey, input: UnsafeRawBufferPointer, count: Int,
        _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        // The pseudorandom key, then each output; the byte after an output is its HKDF counter.
        unsafe withUnsafeTemporaryAllocation(byteCount: 5 * maximumSize, alignment: 8) { scratch in
            let secret = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[..<32])
            unsafe chainingKey.withBytes { key in
                unsafe hmac(key: UnsafeRawBufferPointer(start: key, count: 32), input, into: secret)
            }
            for index in 0...count {
                let start = 32 * (index + 1)
                unsafe withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { counter in
                    unsafe counter[0] = UInt8(index + 1)
                    let previous = unsafe scratch[(index == 0 ? start : start - 32)..<start]
                    unsafe hmac(
                        key: UnsafeRawBufferPointer(secret), UnsafeRawBufferPointer(rebasing: previous),
                        UnsafeRawBufferPointer(counter),
                        into: UnsafeMutableRawBufferPointer(rebasing: scratch[start..<start + 32]))
                }
            }
            unsafe chainingKey.withMutableBytes {
                unsafe UnsafeMutableRawPointer($0).copyMemory(from: scratch.baseAddress! + 32, byteCount: 32)
            }
            unsafe body(UnsafeRawBufferPointer(rebasing: scratch[64..<64 + 32 * count]))
            unsafe wipe(scratch)
        }
    }
}
