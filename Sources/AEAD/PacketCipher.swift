import CAEAD
import Glibc
package import Sodium

/// The library that seals and opens bulk packets.
package enum AEADLibrary: String, CaseIterable, Sendable {
    /// Always there; the fastest for small packets.
    case libsodium
    /// libcrypto.so.3, 1.6 times as fast as libsodium for a full packet.
    case openssl
    /// libIPSec_MB.so.1 on a CPU with AVX-512: twice as fast again.
    case ipsecmb

    package var isAvailable: Bool {
        switch self {
        case .libsodium: true
        case .openssl: CAEAD_openssl_available()
        case .ipsecmb: CAEAD_ipsecmb_available()
        }
    }

    /// Chosen once, at start: the fastest that is there, or what WARREN_AEAD names when that is there.
    package static let chosen: AEADLibrary = {
        // Each is probed here and nowhere else, under the lock of this initialisation.
        let available = AEADLibrary.allCases.filter(\.isAvailable)
        if let name = unsafe getenv("WARREN_AEAD"), let wanted = AEADLibrary(rawValue: unsafe String(cString: name)),
            available.contains(wanted)
        {
            return wanted
        }
        return available.last ?? .libsodium
    }()
}

/// One direction of a session: ChaCha20-Poly1305 (RFC 8439) without additional data, whose nonce is a counter.
///
/// Large packets go to the library that is fastest for them, small ones to libsodium, whose calls cost the least; all give
/// the same bytes. Owns its key, and wipes it. One thread at a time: a library's context is not shared.
@safe
package struct PacketCipher: ~Copyable, @unchecked Sendable {
    // Safe: the context is this value's own, made in init and freed in deinit; used by one thread at a time.

    /// Below this many bytes libsodium is faster than the fixed cost of OpenSSL's calls; ipsec-mb wins with any packet
    /// (`warren-bench` prints both).
    package static let opensslBreakEven = 576
    package static let ipsecmbBreakEven = 16

    private let key: SecretKey
    private let library: AEADLibrary
    private let context: UnsafeMutableRawPointer?

    package init(_ key: consuming SecretKey, seals: Bool, library: AEADLibrary = .chosen) {
        var context: UnsafeMutableRawPointer?
        if library == .openssl { unsafe context = key.withBytes { unsafe CAEAD_openssl_new($0, seals) } }
        // Without memory for a context, libsodium needs none.
        self.library = unsafe library == .openssl && context == nil ? .libsodium : library
        unsafe self.context = unsafe context
        self.key = key
    }

    deinit { if let context = unsafe context { unsafe CAEAD_openssl_free(context) } }

    /// Encrypts `count` bytes from `plaintext` to `output`, which has room for 16 more; both may be the same.
    @inline(__always)
    package func seal(
        _ plaintext: UnsafePointer<UInt8>?, count: Int, counter: UInt64, into output: UnsafeMutablePointer<UInt8>
    ) {
        if let plaintext = unsafe plaintext {
            if library == .ipsecmb, count >= Self.ipsecmbBreakEven {
                unsafe withNonce(counter) { nonce in
                    unsafe key.withBytes { unsafe CAEAD_ipsecmb_seal($0, nonce, plaintext, count, output) }
                }
                return
            }
            if let context = unsafe context, count >= Self.opensslBreakEven,
                unsafe withNonce(counter, { unsafe CAEAD_openssl_seal(context, $0, plaintext, count, output) })
            {
                return
            }
        }
        unsafe ChaChaPoly.seal(
            plaintext, count: count, additionalData: UnsafeRawBufferPointer(start: nil, count: 0), counter: counter,
            key: key, into: output)
    }

    /// The same from any thread, at any time: by libsodium, which keeps nothing between calls.
    package func sealShared(
        _ plaintext: UnsafePointer<UInt8>?, count: Int, counter: UInt64, into output: UnsafeMutablePointer<UInt8>
    ) {
        unsafe ChaChaPoly.seal(
            plaintext, count: count, additionalData: UnsafeRawBufferPointer(start: nil, count: 0), counter: counter,
            key: key, into: output)
    }

    /// Decrypts `count` bytes, tag included, in place. False, and nothing usable there, when the tag does not verify.
    @inline(__always)
    package func open(_ bytes: UnsafeMutablePointer<UInt8>, count: Int, counter: UInt64) -> Bool {
        let length = count - ChaChaPoly.tagSize
        guard length >= 0 else { return false }
        if library == .ipsecmb, length >= Self.ipsecmbBreakEven {
            var tag = SIMD16<UInt8>()
            return unsafe withUnsafeMutableBytes(of: &tag) { tag in
                guard let expected = unsafe tag.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return false }
                unsafe withNonce(counter) { nonce in
                    unsafe key.withBytes { unsafe CAEAD_ipsecmb_open($0, nonce, bytes, length, bytes, expected) }
                }
                return unsafe constantTimeEqual(expected, bytes + length, count: ChaChaPoly.tagSize)
            }
        }
        if let context = unsafe context, length >= Self.opensslBreakEven {
            return unsafe withNonce(counter) { unsafe CAEAD_openssl_open(context, $0, bytes, length, bytes) }
        }
        return unsafe ChaChaPoly.open(
            bytes, count: count, additionalData: UnsafeRawBufferPointer(start: nil, count: 0), counter: counter,
            key: key,
            into: bytes)
    }

    /// Four zero bytes, then the counter in little-endian (WireGuard paper 5.4.6).
    @inline(__always)
    private func withNonce<Result>(_ counter: UInt64, _ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        let nonce = (
            UInt32(0), UInt32(truncatingIfNeeded: counter).littleEndian,
            UInt32(truncatingIfNeeded: counter >> 32).littleEndian
        )
        return unsafe withUnsafeBytes(of: nonce) {
            unsafe body($0.baseAddress!.assumingMemoryBound(to: UInt8.self))
        }
    }
}
