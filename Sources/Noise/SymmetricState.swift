package import Sodium

/// The state that both ends of a handshake keep alike: the hash of all that was said, the chaining key and the key that
/// the next field is sealed with (Noise 5.2, with ChaCha20-Poly1305 and BLAKE2s).
///
/// Fields may be sealed and opened only after the first `mixKey`. Secrets are wiped at the end of its life.
package struct SymmetricState: ~Copyable {
    package private(set) var hash: Bytes32
    private var chainingKey: SecretKey
    private var key: SecretKey
    private var nonce: UInt64 = 0

    /// Hash and chaining key of a protocol whose name is longer than 32 bytes, then the prologue.
    package init(protocolName: StaticString, prologue: RawSpan) throws(NoiseError) {
        precondition(protocolName.utf8CodeUnitCount > 32)
        var name = Blake2s()
        unsafe name.update(
            UnsafeRawBufferPointer(start: protocolName.utf8Start, count: protocolName.utf8CodeUnitCount))
        let start = name.finish()
        let chainingKey = try refusing { () throws(SodiumError) in try SecretKey(copying: start.bytes) }
        let key = try refusing(SecretKey.init)
        self.init(hash: start, chainingKey: chainingKey, key: key, nonce: 0)
        mixHash(prologue)
    }

    private init(hash: Bytes32, chainingKey: consuming SecretKey, key: consuming SecretKey, nonce: UInt64) {
        self.hash = hash
        self.chainingKey = chainingKey
        self.key = key
        self.nonce = nonce
    }

    /// The same state again, to try a message that may turn out to be forged.
    package borrowing func copy() throws(NoiseError) -> SymmetricState {
        do {
            return SymmetricState(hash: hash, chainingKey: try chainingKey.copy(), key: try key.copy(), nonce: nonce)
        } catch { throw NoiseError(error) }
    }

    /// Puts `data` into the hash.
    package mutating func mixHash(_ data: RawSpan) {
        var state = Blake2s()
        state.update(hash)
        state.update(data)
        hash = state.finish()
    }

    package mutating func mixHash(_ data: Bytes32) {
        unsafe data.withUnsafeBytes { unsafe mixHash(RawSpan(_unsafeBytes: $0)) }
    }

    /// Puts public bytes into the chaining key: in patterns with a preshared key each ephemeral key is mixed in so (Noise 9.2).
    package mutating func mixKey(_ publicKey: Bytes32) {
        unsafe publicKey.withUnsafeBytes { unsafe Blake2s.derive(&chainingKey, &key, input: $0) }
        nonce = 0
    }

    /// Puts a secret into the chaining key, and makes the next key.
    package mutating func mixKey(_ secret: borrowing SecretKey) {
        unsafe secret.withBytes {
            unsafe Blake2s.derive(&chainingKey, &key, input: UnsafeRawBufferPointer(start: $0, count: 32))
        }
        nonce = 0
    }

    /// Puts a preshared key into chaining key, hash and key (Noise 9.1).
    package mutating func mixKeyAndHash(_ presharedKey: borrowing SecretKey) throws(NoiseError) {
        var mixed = try refusing(SecretKey.init)
        unsafe presharedKey.withBytes {
            unsafe Blake2s.derive(&chainingKey, &mixed, &key, input: UnsafeRawBufferPointer(start: $0, count: 32))
        }
        unsafe mixed.withBytes { unsafe mixHash(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(start: $0, count: 32))) }
        nonce = 0
    }

    /// Appends `plaintext` sealed, and its tag, to `message`.
    package mutating func encryptAndHash(_ plaintext: RawSpan, appendingTo message: inout [UInt8]) {
        let start = message.count
        message.append(contentsOf: repeatElement(0, count: plaintext.byteCount + ChaChaPoly.tagSize))
        unsafe message.withUnsafeMutableBufferPointer { message in
            let output = unsafe message.baseAddress! + start
            unsafe plaintext.withUnsafeBytes { plaintext in
                unsafe hash.withUnsafeBytes { hash in
                    unsafe ChaChaPoly.seal(
                        plaintext.baseAddress?.assumingMemoryBound(to: UInt8.self), count: plaintext.count,
                        additionalData: hash, counter: nonce, key: key, into: output)
                }
            }
            unsafe mixHash(RawSpan(_unsafeStart: output, byteCount: plaintext.byteCount + ChaChaPoly.tagSize))
        }
        nonce += 1
    }

    /// The plaintext of a field; throws `.authentication` and leaves this state as it was when the tag does not verify.
    package mutating func decryptAndHash(_ ciphertext: RawSpan) throws(NoiseError) -> [UInt8] {
        guard ciphertext.byteCount >= ChaChaPoly.tagSize else { throw .wrongLength }
        // At least a byte, so that there is an address to write nothing to.
        let size = ciphertext.byteCount - ChaChaPoly.tagSize
        var plaintext = [UInt8](repeating: 0, count: max(size, 1))
        let isAuthentic = unsafe plaintext.withUnsafeMutableBufferPointer { plaintext in
            unsafe ciphertext.withUnsafeBytes { ciphertext in
                unsafe hash.withUnsafeBytes { hash in
                    unsafe ChaChaPoly.open(
                        ciphertext.baseAddress!.assumingMemoryBound(to: UInt8.self), count: ciphertext.count,
                        additionalData: hash, counter: nonce, key: key, into: plaintext.baseAddress)
                }
            }
        }
        guard isAuthentic else { throw .authentication }
        mixHash(ciphertext)
        nonce += 1
        plaintext.removeLast(plaintext.count - size)
        return plaintext
    }

    /// The two keys of the session: the first seals what the initiator sends. Ends this state.
    package consuming func split() throws(NoiseError) -> TransportKeys {
        unsafe Blake2s.derive(&chainingKey, &key, input: UnsafeRawBufferPointer(start: nil, count: 0))
        return TransportKeys(fromInitiator: chainingKey, fromResponder: key, handshakeHash: hash)
    }
}
