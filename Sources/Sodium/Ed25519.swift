package import Addressing
import CSodium

/// Ed25519 signatures (RFC 8032).
package enum Ed25519 {
    package typealias PublicKey = Bytes32
    package static let signatureSize = 64

    /// A signing key: the 32-byte seed, expanded for each signature.
    package struct PrivateKey: ~Copyable, Sendable {
        private let seed: SecretKey
        package let publicKey: PublicKey

        /// The key of a 32-byte seed (RFC 8032's private key), which the caller wipes.
        package init(seed bytes: [UInt8]) throws(SodiumError) {
            try self.init(seed: SecretKey(copying: bytes))
        }

        /// A fresh key.
        package init() throws(SodiumError) {
            var random = SecureRandom()
            try self.init(seed: SecretKey(using: &random))
        }

        private init(seed: consuming SecretKey) throws(SodiumError) {
            publicKey = unsafe Self.withExpanded(seed) { expanded in
                unsafe Bytes32(loading: UnsafeRawPointer(expanded) + 32)
            }
            self.seed = seed
        }

        /// The 32-byte seed, for a key file: the caller wipes it.
        package borrowing func exportSeed() -> [UInt8] { seed.exportBytes() }

        /// The 64-byte signature over `message`.
        package borrowing func sign(_ message: [UInt8]) -> [UInt8] {
            var signature = [UInt8](repeating: 0, count: signatureSize)
            unsafe Self.withExpanded(seed) { expanded in
                _ = unsafe crypto_sign_detached(&signature, nil, message, UInt64(message.count), expanded)
            }
            return signature
        }

        private static func withExpanded<Result>(
            _ seed: borrowing SecretKey, _ body: (UnsafePointer<UInt8>) -> Result
        ) -> Result {
            unsafe withUnsafeTemporaryAllocation(byteCount: 96, alignment: 16) { buffer in
                let expanded = unsafe buffer.baseAddress!.assumingMemoryBound(to: UInt8.self)
                unsafe seed.withBytes { _ = unsafe crypto_sign_seed_keypair(expanded + 64, expanded, $0) }
                defer { unsafe wipe(buffer) }
                return unsafe body(expanded)
            }
        }
    }

    /// Whether `signature` over `message` is by `key`. Non-canonical and small-order keys are refused by the library.
    package static func verify(_ signature: [UInt8], of message: [UInt8], by key: PublicKey) -> Bool {
        guard signature.count == signatureSize else { return false }
        return unsafe key.withUnsafeBytes { key in
            unsafe crypto_sign_verify_detached(
                signature, message, UInt64(message.count), key.baseAddress!.assumingMemoryBound(to: UInt8.self)) == 0
        }
    }
}

extension AgentID {
    /// The id of the agent whose identity key this is: the first 16 bytes of BLAKE2b-256 of the key.
    package init(identityKey: Ed25519.PublicKey) {
        let digest = Blake2b.hash(identityKey.bytes)
        self = AgentID(digest.prefix(16)) ?? AgentID(high: 0, low: 0)
    }
}
