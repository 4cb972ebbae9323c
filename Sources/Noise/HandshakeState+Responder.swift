package import Sodium

extension HandshakeState {
    /// The responder, who learns in three steps who asks, what was said, and answers.
    package struct Responder: ~Copyable {
        private var symmetric: SymmetricState
        private let remoteEphemeral: X25519.PublicKey
        /// Who claims to ask; proven by `readPayload`.
        package let remoteStatic: X25519.PublicKey

        /// Reads the ephemeral and static keys of an initiation, at the price of one Diffie-Hellman.
        package init(
            initiation: RawSpan, local: borrowing StaticKey, prologue: RawSpan
        ) throws(NoiseError) {
            guard initiation.byteCount >= initiationSize(payload: 0) else { throw .wrongLength }
            var symmetric = try SymmetricState(protocolName: protocolName, prologue: prologue)
            symmetric.mixHash(local.publicKey)
            let ephemeral = initiation.publicKey(at: 0)
            symmetric.mixHash(ephemeral)
            symmetric.mixKey(ephemeral)
            symmetric.mixKey(try HandshakeState.sharedSecret(local.secret, ephemeral))
            let key = try symmetric.decryptAndHash(initiation.extracting(keySize..<keySize + sealedKeySize))
            guard let remote = Bytes32(key) else { throw .wrongLength }
            self.symmetric = symmetric
            remoteEphemeral = ephemeral
            remoteStatic = remote
        }

        /// The initiation's payload, which proves that `remoteStatic` sent it. `staticStatic` is the shared secret of
        /// both static keys. The same initiation may have been replayed: only the payload can tell.
        package mutating func readPayload(
            initiation: RawSpan, staticStatic: borrowing SecretKey
        ) throws(NoiseError) -> [UInt8] {
            guard initiation.byteCount >= initiationSize(payload: 0) else { throw .wrongLength }
            symmetric.mixKey(staticStatic)
            return try symmetric.decryptAndHash(
                initiation.extracting(keySize + sealedKeySize..<initiation.byteCount))
        }

        /// Appends a response to `message` and gives the session's keys.
        package consuming func respond(
            ephemeral: consuming SecretKey, presharedKey: borrowing SecretKey, payload: RawSpan,
            message: inout [UInt8]
        ) throws(NoiseError) -> TransportKeys {
            let publicKey = X25519.publicKey(of: ephemeral)
            message += publicKey.bytes
            symmetric.mixHash(publicKey)
            symmetric.mixKey(publicKey)
            symmetric.mixKey(try HandshakeState.sharedSecret(ephemeral, remoteEphemeral))
            symmetric.mixKey(try HandshakeState.sharedSecret(ephemeral, remoteStatic))
            try symmetric.mixKeyAndHash(presharedKey)
            symmetric.encryptAndHash(payload, appendingTo: &message)
            return try symmetric.split()
        }
    }
}
