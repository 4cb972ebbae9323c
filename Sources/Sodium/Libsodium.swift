import CSodium

/// The library itself: start-up and randomness.
package enum Libsodium {
    /// Chooses the fast code for this CPU. Every program calls it before anything else of this module: without it the
    /// AEAD silently runs the portable reference code at half the speed, and the slab refuses to give out memory.
    ///
    /// May be called again, from any thread.
    package static func initialize() throws(SodiumError) {
        guard sodium_init() >= 0 else { throw .initialization }
    }

    /// Whether `initialize` ran and found SSSE3 or better (x86) or NEON code to use.
    package static var hasFastCode: Bool {
        sodium_runtime_has_avx2() == 1 || sodium_runtime_has_ssse3() == 1 || sodium_runtime_has_neon() == 1
    }

    /// Unpredictable bytes from the kernel's generator (getrandom(2)).
    package static func randomBytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        unsafe bytes.withUnsafeMutableBytes { unsafe randombytes_buf($0.baseAddress!, count) }
        return bytes
    }
}

/// The secure source of randomness. Sans-I/O modules take `some RandomNumberGenerator`, so that tests can seed them.
package struct SecureRandom: RandomNumberGenerator, Sendable {
    package init() {}

    package mutating func next() -> UInt64 {
        var value: UInt64 = 0
        unsafe withUnsafeMutableBytes(of: &value) { unsafe randombytes_buf($0.baseAddress!, 8) }
        return value
    }
}

/// Why a primitive refused.
package enum SodiumError: Error, Equatable, CustomStringConvertible {
    case initialization
    /// The other side's public key is of small order: the shared secret would be known to everybody (RFC 7748 6.1).
    case smallOrderPoint
    /// A tag or signature does not verify: forged, damaged or for another key.
    case authentication
    case wrongLength(what: String, expected: Int, got: Int)
    /// No locked memory for another secret could be mapped.
    case secretMemoryExhausted

    package var description: String {
        switch self {
        case .initialization: "start libsodium: sodium_init failed"
        case .smallOrderPoint: "X25519: the public key is a small-order point"
        case .authentication: "authentication failed"
        case .wrongLength(let what, let expected, let got): "\(what): \(got) bytes, expected \(expected)"
        case .secretMemoryExhausted: "map memory for secrets: ENOMEM"
        }
    }
}

/// Overwrites secrets in a way that the compiler can't remove (sodium_memzero(3)).
package func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
    if let base = bytes.baseAddress { unsafe sodium_memzero(base, bytes.count) }
}

/// Whether `count` bytes at both are equal, in time that depends on `count` alone.
package func constantTimeEqual(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, count: Int) -> Bool {
    unsafe sodium_memcmp(left, right, count) == 0
}

/// Whether both are equal, in time that depends on their length alone.
package func constantTimeEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
    guard left.count == right.count else { return false }
    return unsafe left.withUnsafeBytes { left in
        unsafe right.withUnsafeBytes { right in
            guard let first = left.baseAddress, let second = right.baseAddress else { return true }
            return unsafe sodium_memcmp(first, second, left.count) == 0
        }
    }
}
