import CAEAD
import Glibc
package import Sodium

/// The library that seals and opens bulk packets.
package enum AEADLibrary: String, CaseIterable, Sendable {
    /// Always there; the fastest for small packets.
    case libsodium
    /// libcrypto.so.3, twice as fast as libsodium for a full packet.
    case openssl
    /// libIPSec_MB.so.1 on a CPU with AVX-512: three times as fast.
    case ipsecmb

    /// Whether it is there and gives libsodium's bytes. The first question loads the library.
    package var isAvailable: Bool {
        switch self {
        case .libsodium: true
        case .openssl: CAEAD_openssl_available() && agreesWithLibsodium()
        case .ipsecmb: CAEAD_ipsecmb_available() && agreesWithLibsodium()
        }
    }

    /// Chosen once, at start: the fastest that is there, or what WARREN_AEAD names when that is there. Others are not even
    /// loaded: each would stay in memory.
    package static let chosen: AEADLibrary = {
        if let name = unsafe getenv("WARREN_AEAD"), let wanted = AEADLibrary(rawValue: unsafe String(cString: name)),
            wanted.isAvailable
        {
            return wanted
        }
        return AEADLibrary.allCases.reversed().first { $0.isAvailable } ?? .libsodium
    }()

    /// A library that can be replaced under a running system must not be trusted to be what its name says. The packet is
    /// longer than what OpenSSL's is given in one piece.
    private func agreesWithLibsodium() -> Bool {
        // This thread may be none of those that carry packets.
        defer { CAEAD_ipsecmb_leave() }
        let (length, counter) = (3000, UInt64(0x0102_0304_0506_0708))
        let key = (0..<32).map { UInt8($0) }
        var outputs: [[UInt8]] = []
        for library in [AEADLibrary.libsodium, self] {
            guard let key = try? SecretKey(copying: key) else { return false }
            var bytes = [UInt8](repeating: 0x5a, count: length + ChaChaPoly.tagSize)
            let cipher = PacketCipher(key, library: library)
            let isOpened = unsafe bytes.withUnsafeMutableBufferPointer { bytes in
                guard let start = bytes.baseAddress else { return false }
                unsafe cipher.seal(start, count: length, counter: counter, into: start)
                unsafe outputs.append(Array(bytes))
                return unsafe cipher.open(start, count: bytes.count, counter: counter)
            }
            guard isOpened, bytes.prefix(length).allSatisfy({ $0 == 0x5a }) else { return false }
        }
        return outputs[0] == outputs[1]
    }
}

/// One direction of a session: ChaCha20-Poly1305 (RFC 8439) without additional data, whose nonce is a counter.
///
/// Large packets go to the library that is fastest for them, small ones to libsodium, whose calls cost the least; all give
/// the same bytes. Owns its key, and wipes it. One thread at a time may use one direction; any number of directions may be
/// used at once by as many threads.
@safe
package struct PacketCipher: ~Copyable, @unchecked Sendable {
    // Safe: the context is this value's own, made in init and freed in deinit; used by one thread at a time.

    /// Below this many bytes libsodium is as fast as OpenSSL's calls; ipsec-mb wins with any packet
    /// (`warren-bench` prints both).
    package static let opensslBreakEven = 64
    package static let ipsecmbBreakEven = 16

    private let key: SecretKey
    private let library: AEADLibrary
    private let context: UnsafeMutableRawPointer?

    package init(_ key: consuming SecretKey, library: AEADLibrary = .chosen) {
        var context: UnsafeMutableRawPointer?
        if library == .openssl { unsafe context = key.withBytes { unsafe CAEAD_openssl_new($0) } }
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
            if library == .ipsecmb, count >= Self.ipsecmbBreakEven,
                unsafe withNonce(
                    counter,
                    { nonce in
                        unsafe key.withBytes { unsafe CAEAD_ipsecmb_seal($0, nonce, plaintext, count, output) }
                    })
            {
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
            var isAuthentic = false
            let ran = unsafe withNonce(counter) { nonce in
                unsafe key.withBytes { unsafe CAEAD_ipsecmb_open($0, nonce, bytes, length, &isAuthentic) }
            }
            if ran { return isAuthentic }
        }
        if let context = unsafe context, length >= Self.opensslBreakEven {
            return unsafe withNonce(counter) { unsafe CAEAD_openssl_open(context, $0, bytes, length) }
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
