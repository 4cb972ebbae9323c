import CSodium

/// BLAKE2b (RFC 7693) for ids, fingerprints and derived keys. WireGuard's own hash is `Blake2s`.
package enum Blake2b {
    /// The digest of `message`, `size` bytes long (16…64).
    package static func hash(_ message: [UInt8], size: Int = 32) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: size)
        _ = unsafe crypto_generichash(&digest, size, message, UInt64(message.count), nil, 0)
        return digest
    }

    /// The keyed digest of `message`: a MAC, or a key derived for the purpose that `message` names.
    package static func hash(_ message: [UInt8], key: borrowing SecretKey, size: Int = 32) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: size)
        unsafe key.withBytes { _ = unsafe crypto_generichash(&digest, size, message, UInt64(message.count), $0, 32) }
        return digest
    }

    /// A 32-byte key derived from `key` for the purpose that `message` names, never outside the slab.
    package static func deriveKey(_ message: [UInt8], from key: borrowing SecretKey) throws(SodiumError) -> SecretKey {
        var derived = try SecretKey()
        unsafe derived.withMutableBytes { output in
            unsafe key.withBytes { key in
                _ = unsafe crypto_generichash(output, 32, message, UInt64(message.count), key, 32)
            }
        }
        return derived
    }
}
