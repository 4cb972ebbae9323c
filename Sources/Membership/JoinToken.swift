import Addressing
package import Sodium

/// What a new agent is given to join a mesh: where the authority is, what proves that it is the right one, and a secret.
///
/// Text: `warren1.` and base64url of the bytes below. Whoever holds it may join within the token's bounds, so it is
/// treated like a password; the hub keeps only its hash.
package struct JoinToken: ~Copyable, Sendable {
    package static let prefix = "warren1."
    /// A token's text is at most this long; anything longer is refused unread.
    package static let sizeLimit = 1024

    package let mesh: String
    /// The authority's TLS address.
    package let address: HubAddress
    /// BLAKE2b-256 of the SubjectPublicKeyInfo (DER) in the authority's TLS certificate.
    package let pin: Bytes32
    package let authorityKey: Ed25519.PublicKey
    package let secret: SecretKey

    package init(
        mesh: String, address: HubAddress, pin: Bytes32, authorityKey: Ed25519.PublicKey, secret: consuming SecretKey
    ) throws(MembershipError) {
        guard AgentName.isValid(mesh) else { throw .invalidName(mesh) }
        self.mesh = mesh
        self.address = address
        self.pin = pin
        self.authorityKey = authorityKey
        self.secret = secret
    }

    // Layout, version 1 (integers big-endian):
    //   offset  size  field
    //   0       1     version: 1
    //   1       1+n   mesh name: length byte and text
    //   .       1+n   authority host: length byte and text
    //   .       2     authority port
    //   .       32    pin
    //   .       32    authority's Ed25519 public key
    //   .       32    secret
    package init(_ text: String) throws(MembershipError) {
        let text = text.trimmingSpaces
        guard text.utf8.count <= Self.sizeLimit else {
            throw .oversized(what: "join token", limit: Self.sizeLimit, got: text.utf8.count)
        }
        guard text.hasPrefix(Self.prefix), var bytes = Base64.decodeURL(text.dropFirst(Self.prefix.count)) else {
            throw .malformed("join token")
        }
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        guard bytes.first == 1 else { throw .malformed("join token: unknown version") }
        var position = 1
        guard let mesh = Self.text(bytes, &position), let host = Self.text(bytes, &position),
            bytes.count == position + 98,
            let address = HubAddress(host: host, port: UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])),
            let pin = Bytes32(bytes[position + 2..<position + 34]),
            let authorityKey = Bytes32(bytes[position + 34..<position + 66])
        else { throw .malformed("join token") }
        let secret: SecretKey
        do { secret = try SecretKey(copying: bytes.span.extracting(position + 66..<position + 98)) } catch {
            throw .malformed("join token: \(error)")
        }
        try self.init(mesh: mesh, address: address, pin: pin, authorityKey: authorityKey, secret: secret)
    }

    /// The token's text, secret included.
    package borrowing func exportText() -> String {
        var bytes: [UInt8] = [1]
        for text in [mesh, address.host] { bytes += [UInt8(text.utf8.count)] + Array(text.utf8) }
        bytes += [UInt8(address.port >> 8), UInt8(address.port & 255)] + pin.bytes + authorityKey.bytes
        var secret = secret.exportBytes()
        bytes += secret
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

    private static func text(_ bytes: [UInt8], _ position: inout Int) -> String? {
        guard position < bytes.count else { return nil }
        let end = position + 1 + Int(bytes[position])
        guard end <= bytes.count else { return nil }
        defer { position = end }
        return String(validating: bytes[position + 1..<end], as: UTF8.self)
    }
}

extension String {
    /// Without spaces and line ends around it, as a token read from a file may have them.
    fileprivate var trimmingSpaces: String {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
        let bytes = Array(utf8.prefix(JoinToken.sizeLimit + 64)).drop(while: isSpace)
        let end = bytes.lastIndex { !isSpace($0) } ?? bytes.startIndex - 1
        return bytes.isEmpty ? "" : String(decoding: bytes[...end], as: UTF8.self)
    }
}
