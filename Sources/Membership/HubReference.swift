import Addressing
package import Sodium

/// The public part of a join token, which can stand alone: where a mesh's authority is, and what proves that it is the right
/// one. No secret: who has it can find the hub, and join only with something else.
///
/// Text: `warrenhub1.` and base64url of the bytes below.
package struct HubReference: Hashable, Sendable {
    package static let prefix = "warrenhub1."
    static let sizeLimit = 1024

    package let mesh: String
    /// The authority's TLS address.
    package let address: HubAddress
    /// BLAKE2b-256 of the SubjectPublicKeyInfo (DER) in the authority's TLS certificate.
    package let pin: Bytes32
    package let authorityKey: Ed25519.PublicKey

    package init(
        mesh: String, address: HubAddress, pin: Bytes32, authorityKey: Ed25519.PublicKey
    ) throws(MembershipError) {
        guard AgentName.isValidMesh(mesh) else { throw .invalidName(mesh) }
        self.mesh = mesh
        self.address = address
        self.pin = pin
        self.authorityKey = authorityKey
    }

    package init(_ text: String) throws(MembershipError) {
        let bytes = try Self.decode(text, prefix: Self.prefix, what: "hub's public text")
        guard let reference = Self(layout: bytes[...]) else { throw .malformed("hub's public text") }
        self = reference
    }

    package var text: String { Self.prefix + Base64.encodeURL(layout) }

    // Layout, version 1 (integers big-endian):
    //   offset  size  field
    //   0       1     version: 1
    //   1       1+n   mesh name: length byte and text
    //   .       1+n   authority host: length byte and text
    //   .       2     authority port
    //   .       32    pin
    //   .       32    authority's Ed25519 public key
    init?(layout bytes: ArraySlice<UInt8>) {
        guard bytes.first == 1 else { return nil }
        var rest = bytes.dropFirst()
        guard let mesh = Self.takeText(&rest), let host = Self.takeText(&rest), rest.count == 66 else { return nil }
        let start = rest.startIndex
        guard let address = HubAddress(host: host, port: UInt16(rest[start]) << 8 | UInt16(rest[start + 1])),
            let pin = Bytes32(rest[start + 2..<start + 34]), let authorityKey = Bytes32(rest[start + 34..<start + 66]),
            let reference = try? Self(mesh: mesh, address: address, pin: pin, authorityKey: authorityKey)
        else { return nil }
        self = reference
    }

    var layout: [UInt8] {
        var bytes: [UInt8] = [1]
        for text in [mesh, address.host] { bytes += [UInt8(text.utf8.count)] + Array(text.utf8) }
        return bytes + [UInt8(address.port >> 8), UInt8(address.port & 255)] + pin.bytes + authorityKey.bytes
    }

    /// The bytes of a text with `prefix`, which may have spaces and line ends around it, as one read from a file has.
    static func decode(_ text: String, prefix: String, what: String) throws(MembershipError) -> [UInt8] {
        let text = text.trimmingSpaces
        guard text.utf8.count <= sizeLimit else {
            throw .oversized(what: what, limit: sizeLimit, got: text.utf8.count)
        }
        guard text.hasPrefix(prefix), let bytes = Base64.decodeURL(text.dropFirst(prefix.count)) else {
            throw .malformed(what)
        }
        guard bytes.first == 1 else { throw .malformed("\(what): unknown version") }
        return bytes
    }

    private static func takeText(_ rest: inout ArraySlice<UInt8>) -> String? {
        guard let length = rest.popFirst(), rest.count >= Int(length) else { return nil }
        defer { rest = rest.dropFirst(Int(length)) }
        return String(validating: rest.prefix(Int(length)), as: UTF8.self)
    }
}

extension String {
    /// Without spaces and line ends around it.
    fileprivate var trimmingSpaces: String {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
        let bytes = Array(utf8.prefix(HubReference.sizeLimit + 64)).drop(while: isSpace)
        let end = bytes.lastIndex { !isSpace($0) } ?? bytes.startIndex - 1
        return bytes.isEmpty ? "" : String(decoding: bytes[...end], as: UTF8.self)
    }
}
