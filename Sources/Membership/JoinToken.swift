import Addressing
package import Sodium

/// What a new agent is given to join a mesh: where the authority is, what proves that it is the right one, and a secret.
///
/// Text: `warren1.` and base64url of the bytes below. Whoever holds it may join within the token's bounds, so it is
/// treated like a password; the hub keeps only its hash.
package struct JoinToken: ~Copyable, Sendable {
    package static let prefix = "warren1."
    /// A token's text is at most this long; anything longer is refused unread.
    package static let sizeLimit = HubReference.sizeLimit

    package let hub: HubReference
    package let secret: SecretKey

    package var mesh: String { hub.mesh }
    /// The authority's TLS address.
    package var address: HubAddress { hub.address }
    /// BLAKE2b-256 of the SubjectPublicKeyInfo (DER) in the authority's TLS certificate.
    package var pin: Bytes32 { hub.pin }
    package var authorityKey: Ed25519.PublicKey { hub.authorityKey }

    package init(_ hub: HubReference, secret: consuming SecretKey) {
        self.hub = hub
        self.secret = secret
    }

    package init(
        mesh: String, address: HubAddress, pin: Bytes32, authorityKey: Ed25519.PublicKey, secret: consuming SecretKey
    ) throws(MembershipError) {
        self.init(
            try HubReference(mesh: mesh, address: address, pin: pin, authorityKey: authorityKey), secret: secret)
    }

    // The layout is a hub reference's, and the secret's 32 bytes after it.
    package init(_ text: String) throws(MembershipError) {
        var bytes = try HubReference.decode(text, prefix: Self.prefix, what: "join token")
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        guard bytes.count > 32, let hub = HubReference(layout: bytes[..<(bytes.count - 32)]) else {
            throw .malformed("join token")
        }
        let secret: SecretKey
        do { secret = try SecretKey(copying: bytes.span.extracting(bytes.count - 32..<bytes.count)) } catch {
            throw .malformed("join token: \(error)")
        }
        self.init(hub, secret: secret)
    }

    /// The token's text, secret included.
    package borrowing func exportText() -> String {
        var secret = secret.exportBytes()
        var bytes = hub.layout + secret
        let text = Self.prefix + Base64.encodeURL(bytes)
        unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) }
        unsafe secret.withUnsafeMutableBytes { unsafe wipe($0) }
        return text
    }

    /// What the hub keeps of a secret: BLAKE2b-256 of it. The secret has 256 random bits, so that no slow hash is needed.
    package static func hash(ofSecret secret: borrowing SecretKey) -> Bytes32 {
        var bytes = secret.exportBytes()
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        return hash(ofSecret: bytes)
    }

    package static func hash(ofSecret bytes: [UInt8]) -> Bytes32 {
        Bytes32(Blake2b.hash(Array("warren join token".utf8) + bytes)) ?? .zero
    }
}
