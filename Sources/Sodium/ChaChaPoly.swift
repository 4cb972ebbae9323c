import CSodium

/// ChaCha20-Poly1305 with a 96-bit nonce (RFC 8439), whose nonce is a 64-bit counter as Noise and WireGuard use it:
/// four zero bytes, then the counter in little-endian.
package enum ChaChaPoly {
    package static let tagSize = 16

    /// Encrypts `count` bytes from `plaintext` to `output`, which has room for `count + 16` and may be `plaintext`.
    package static func seal(
        _ plaintext: UnsafePointer<UInt8>?, count: Int, additionalData: UnsafeRawBufferPointer, counter: UInt64,
        key: borrowing SecretKey, into output: UnsafeMutablePointer<UInt8>
    ) {
        var nonce = nonce(counter)
        unsafe key.withBytes { key in
            unsafe withUnsafeBytes(of: &nonce) { nonce in
                _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
                    output, nil, plaintext, UInt64(count),
                    additionalData.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    UInt64(additionalData.count), nil, nonce.baseAddress!.assumingMemoryBound(to: UInt8.self), key)
            }
        }
    }

    /// Decrypts `count` bytes (tag included, at least 16) from `ciphertext` to `output`, which has room for `count - 16`
    /// and may be `ciphertext`. Returns false, with nothing usable in `output`, when the tag does not verify.
    package static func open(
        _ ciphertext: UnsafePointer<UInt8>, count: Int, additionalData: UnsafeRawBufferPointer, counter: UInt64,
        key: borrowing SecretKey, into output: UnsafeMutablePointer<UInt8>?
    ) -> Bool {
        var nonce = nonce(counter)
        return unsafe key.withBytes { key in
            unsafe withUnsafeBytes(of: &nonce) { nonce in
                unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
                    output, nil, nil, ciphertext, UInt64(count),
                    additionalData.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    UInt64(additionalData.count), nonce.baseAddress!.assumingMemoryBound(to: UInt8.self), key) == 0
            }
        }
    }

    private static func nonce(_ counter: UInt64) -> (UInt32, UInt32, UInt32) {
        (0, UInt32(truncatingIfNeeded: counter).littleEndian, UInt32(truncatingIfNeeded: counter >> 32).littleEndian)
    }
}

/// XChaCha20-Poly1305 with a 192-bit nonce (draft-irtf-cfrg-xchacha), for cookies and for what we seal ourselves.
package enum XChaChaPoly {
    package static let tagSize = 16
    package static let nonceSize = 24

    /// The ciphertext and tag: 16 bytes more than `plaintext`. A nonce must not be used twice with one key.
    package static func seal(
        _ plaintext: [UInt8], additionalData: [UInt8], nonce: [UInt8], key: borrowing SecretKey
    ) -> [UInt8] {
        precondition(nonce.count == nonceSize)
        var output = [UInt8](repeating: 0, count: plaintext.count + tagSize)
        unsafe key.withBytes { key in
            _ = unsafe crypto_aead_xchacha20poly1305_ietf_encrypt(
                &output, nil, plaintext, UInt64(plaintext.count), additionalData, UInt64(additionalData.count), nil,
                nonce, key)
        }
        return output
    }

    /// The plaintext; throws `.authentication` when the tag does not verify or there is no room for one.
    package static func open(
        _ ciphertext: [UInt8], additionalData: [UInt8], nonce: [UInt8], key: borrowing SecretKey
    ) throws(SodiumError) -> [UInt8] {
        guard ciphertext.count >= tagSize, nonce.count == nonceSize else { throw .authentication }
        var output = [UInt8](repeating: 0, count: ciphertext.count - tagSize)
        let result = unsafe key.withBytes { key in
            unsafe crypto_aead_xchacha20poly1305_ietf_decrypt(
                &output, nil, nil, ciphertext, UInt64(ciphertext.count), additionalData, UInt64(additionalData.count),
                nonce, key)
        }
        guard result == 0 else { throw .authentication }
        return output
    }
}
