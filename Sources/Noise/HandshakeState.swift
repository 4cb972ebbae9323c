package import Sodium

/// The handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (Noise 7.5 and 9), the one of WireGuard:
///
/// ```
///   <- s                          the initiator knows the responder's static key
///   ...
///   -> e, es, s, ss, payload      initiation:  32 ephemeral | 48 sealed static key | payload + 16
///   <- e, ee, se, psk, payload    response:    32 ephemeral | payload + 16
/// ```
///
/// Each end is a value that is consumed by the step that ends it, so that keys are not used twice.
package enum HandshakeState {
    static let protocolName: StaticString = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
    static let keySize = 32
    static let sealedKeySize = keySize + ChaChaPoly.tagSize

    /// The length of an initiation with a payload of `payload` bytes.
    package static func initiationSize(payload: Int) -> Int {
        keySize + sealedKeySize + payload + ChaChaPoly.tagSize
    }

    /// The length of a response with a payload of `payload` bytes.
    package static func responseSize(payload: Int) -> Int { keySize + payload + ChaChaPoly.tagSize }
}

/// An end's long-lived key pair.
package struct StaticKey: ~Copyable, Sendable {
    package let secret: SecretKey
    package let publicKey: X25519.PublicKey

    package init(_ secret: consuming SecretKey) {
        publicKey = X25519.publicKey(of: secret)
        self.secret = secret
    }
}

/// What a finished handshake leaves: a key for each direction and the hash of all that was said.
package struct TransportKeys: ~Copyable {
    package let fromInitiator: SecretKey
    package let fromResponder: SecretKey
    /// Names this session, the same at both ends (Noise 11.2).
    package let handshakeHash: Bytes32

    package init(
        fromInitiator: consuming SecretKey, fromResponder: consuming SecretKey, handshakeHash: Bytes32
    ) {
        self.fromInitiator = fromInitiator
        self.fromResponder = fromResponder
        self.handshakeHash = handshakeHash
    }

    /// Gives both keys to a new owner.
    package consuming func take<Result: ~Copyable>(
        _ body: (_ fromInitiator: consuming SecretKey, _ fromResponder: consuming SecretKey) -> Result
    ) -> Result {
        body(fromInitiator, fromResponder)
    }
}

extension RawSpan {
    /// The key at `offset`, which is in bounds.
    func publicKey(at offset: Int) -> Bytes32 {
        unsafe withUnsafeBytes { unsafe Bytes32(loading: $0.baseAddress! + offset) }
    }
}
