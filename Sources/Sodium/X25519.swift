import CSodium

/// Diffie-Hellman on Curve25519 (RFC 7748).
package enum X25519 {
    package typealias PublicKey = Bytes32

    /// The public key of a private key. Clamping is done inside, as RFC 7748 section 5 says.
    package static func publicKey(of secret: borrowing SecretKey) -> PublicKey {
        var output: [32 of UInt8] = .init(repeating: 0)
        unsafe withUnsafeMutableBytes(of: &output) { output in
            unsafe secret.withBytes { secret in
                _ = unsafe crypto_scalarmult_base(output.baseAddress!.assumingMemoryBound(to: UInt8.self), secret)
            }
        }
        return unsafe withUnsafeBytes(of: output) { unsafe PublicKey(loading: $0.baseAddress!) }
    }

    /// The shared secret of `secret` and `peer`; throws for a small-order `peer` (an all-zero result).
    package static func sharedSecret(
        _ secret: borrowing SecretKey, _ peer: PublicKey
    ) throws(SodiumError) -> SecretKey {
        var shared = try SecretKey()
        let result = unsafe shared.withMutableBytes { output in
            unsafe secret.withBytes { secret in
                unsafe peer.withUnsafeBytes { peer in
                    unsafe crypto_scalarmult(output, secret, peer.baseAddress!.assumingMemoryBound(to: UInt8.self))
                }
            }
        }
        guard result == 0 else { throw .smallOrderPoint }
        return shared
    }
}
