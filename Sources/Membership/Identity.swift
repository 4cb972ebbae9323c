package import Addressing
package import Sodium

/// An agent's identity: its Ed25519 key, as something that clients and announcements can share. Safe from any thread.
package final class Identity: Sendable {
    private let key: Ed25519.PrivateKey
    package let publicKey: Ed25519.PublicKey
    package let id: AgentID

    package init(_ key: consuming Ed25519.PrivateKey) {
        publicKey = key.publicKey
        id = AgentID(identityKey: key.publicKey)
        self.key = key
    }

    package func sign(_ message: [UInt8]) -> [UInt8] { key.sign(message) }
}

/// The messages that an identity key signs to prove itself to a hub.
///
/// Layout: `warren/1 PURPOSE` in ASCII, a zero byte, the connection's nonce (32), the pin of the TLS key that the client
/// sees (32), the request. Purpose, nonce and pin keep a signature from being used for anything else, later or elsewhere.
package enum Proof {
    package enum Purpose: String, Sendable {
        case join, renew, leave, authenticate, lease
        case accountJoin = "account-join"
        case accountLease = "account-lease"
    }

    package static func message(_ purpose: Purpose, nonce: Bytes32, pin: Bytes32, request: [UInt8]) -> [UInt8] {
        Array("warren/1 \(purpose.rawValue)".utf8) + [0] + nonce.bytes + pin.bytes + request
    }
}

/// What an agent asks of the authority, except the token's secret and the signature.
package struct JoinRequest: Equatable, Sendable {
    package let identityKey: Ed25519.PublicKey
    /// Empty for the name that the token's pattern gives.
    package let name: String
    package let addresses: [IPAddress]
    /// `JoinToken.hash(ofSecret:)`.
    package let tokenHash: Bytes32

    package init(identityKey: Ed25519.PublicKey, name: String, addresses: [IPAddress], tokenHash: Bytes32) {
        self.identityKey = identityKey
        self.name = name
        self.addresses = addresses
        self.tokenHash = tokenHash
    }

    package var id: AgentID { AgentID(identityKey: identityKey) }

    /// What the identity key signs: key (32), token hash (32), and name and addresses, each after a length byte.
    package func proof(nonce: Bytes32, pin: Bytes32) -> [UInt8] {
        var request = identityKey.bytes + tokenHash.bytes
        for field in [Array(name.utf8)] + addresses.map(\.bytes) { request += [UInt8(clamping: field.count)] + field }
        return Proof.message(.join, nonce: nonce, pin: pin, request: request)
    }
}
