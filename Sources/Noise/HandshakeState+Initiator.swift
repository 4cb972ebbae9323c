package import Sodium

extension HandshakeState {
    /// The initiator between its initiation and the response: it holds the ephemeral secret.
    package struct Initiator: ~Copyable {
        private let symmetric: SymmetricState
        private let ephemeral: SecretKey

        /// Appends an initiation to `message`.
        ///
        /// `staticStatic` is the shared secret of both static keys, which a caller computes once for a peer.
        /// Throws `.smallOrderPoint` for a remote key that nobody can own.
        package init(
            local: borrowing StaticKey, remote: X25519.PublicKey, staticStatic: borrowing SecretKey,
            ephemeral: consuming SecretKey, prologue: RawSpan, payload: RawSpan, message: inout [UInt8]
        ) throws(NoiseError) {
            var symmetric = try SymmetricState(protocolName: protocolName, prologue: prologue)
            symmetric.mixHash(remote)
            let publicKey = X25519.publicKey(of: ephemeral)
            message += publicKey.bytes
            symmetric.mixHash(publicKey)
            symmetric.mixKey(publicKey)
            symmetric.mixKey(try HandshakeState.sharedSecret(ephemeral, remote))
            unsafe local.publicKey.withUnsafeBytes {
                unsafe symmetric.encryptAndHash(RawSpan(_unsafeBytes: $0), appendingTo: &message)
            }
            symmetric.mixKey(staticStatic)
            symmetric.encryptAndHash(payload, appendingTo: &message)
            self.symmetric = symmetric
            self.ephemeral = ephemeral
        }

        /// The session's keys, and the response's payload in `payload`.
        ///
        /// A response that is refused leaves this state as it was: the true one may still come.
        package borrowing func finish(
            response: RawSpan, local: borrowing StaticKey, presharedKey: borrowing SecretKey, payload: inout [UInt8]
        ) throws(NoiseError) -> TransportKeys {
            guard response.byteCount >= responseSize(payload: 0) else { throw .wrongLength }
            var symmetric = try symmetric.copy()
            let remote = response.publicKey(at: 0)
            symmetric.mixHash(remote)
            symmetric.mixKey(remote)
            symmetric.mixKey(try HandshakeState.sharedSecret(ephemeral, remote))
            symmetric.mixKey(try HandshakeState.sharedSecret(local.secret, remote))
            try symmetric.mixKeyAndHash(presharedKey)
            payload = try symmetric.decryptAndHash(response.extracting(keySize..<response.byteCount))
            return try symmetric.split()
        }
    }

    static func sharedSecret(
        _ secret: borrowing SecretKey, _ remote: X25519.PublicKey
    ) throws(NoiseError) -> SecretKey {
        do { return try X25519.sharedSecret(secret, remote) } catch { throw NoiseError(error) }
    }
}
