package import Addressing
package import Sodium
package import Timing

/// A Kubernetes service account's token (a JWT), as far as it can be looked at without the cluster's keys.
///
/// Nothing that it says is believed here: the API server reviews it. This only keeps what can't be right from the API
/// server: junk, tokens for somebody else, and those that have expired.
package enum ServiceAccountToken {
    /// One with all its claims has some 1,200 bytes.
    package static let sizeLimit = 4096

    /// Why it can't be accepted for `audience` at `now`; nil when the API server is to be asked.
    package static func fault(_ token: [UInt8], audience: String, now: WallTime) -> String? {
        guard isText(token) else { return "it is no token" }
        let parts = token.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let payload = Base64.decodeURL(String(decoding: parts[1], as: UTF8.self)),
            let claims = JSONValue(parsing: payload)
        else { return "it is no token of a service account" }
        let audiences = claims["aud"].map { $0.strings ?? [$0.string].compactMap(\.self) } ?? []
        guard audiences.contains(audience) else { return "it is not for the audience \(audience)" }
        guard let expires = claims["exp"]?.numericDate else { return "it has no end" }
        guard now.seconds < expires + Credential.leeway else { return "it has expired" }
        return nil
    }

    /// Whether it can be put into a header or a frame.
    package static func isText(_ token: [UInt8]) -> Bool {
        !token.isEmpty && token.count <= sizeLimit && token.allSatisfy { (0x21...0x7e).contains($0) }
    }

    package static func hash(_ token: [UInt8]) -> Bytes32 {
        Bytes32(Blake2b.hash(Array("warren service account token".utf8) + token)) ?? .zero
    }
}

/// What an agent, or a node, that has a service account's token asks of the authority, except the token and the signature.
/// It says no name: the token does.
package struct AccountRequest: Equatable, Sendable {
    package let identityKey: Ed25519.PublicKey
    /// None for a node's block.
    package let addresses: [IPAddress]
    package let tokenHash: Bytes32

    package init(identityKey: Ed25519.PublicKey, addresses: [IPAddress], token: [UInt8]) {
        self.identityKey = identityKey
        self.addresses = addresses
        tokenHash = ServiceAccountToken.hash(token)
    }

    package var id: AgentID { AgentID(identityKey: identityKey) }

    /// What the identity key signs: key (32), token hash (32), and the addresses, each after a length byte.
    package func proof(_ purpose: Proof.Purpose, nonce: Bytes32, pin: Bytes32) -> [UInt8] {
        var request = identityKey.bytes + tokenHash.bytes
        for address in addresses.map(\.bytes) { request += [UInt8(clamping: address.count)] + address }
        return Proof.message(purpose, nonce: nonce, pin: pin, request: request)
    }
}
