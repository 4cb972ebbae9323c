package import Addressing

/// Why the authority says no.
package enum Refusal: Error, Equatable, Sendable {
    case wrongToken
    case expiredToken
    case usedUpToken
    /// The signature by the identity key over the hub's nonce does not verify.
    case invalidProof
    case invalidName(String)
    case nameNotAllowed(String)
    case noAddress
    case tooManyAddresses
    case addressNotAllowed(IPAddress)
    case nameTaken(String)
    case addressTaken(IPAddress)
    /// No live credential is known for the key: never joined, expired, left or released.
    case notMember
    /// The token is a node's where an agent's is needed, or the other way round.
    case wrongKind(TokenGrant.Kind)
    /// Another identity key has a block under the node's name.
    case nodeNameTaken(String)
    /// All block numbers are leased.
    case noBlockLeft
}

extension Refusal: CustomStringConvertible {
    package var description: String {
        switch self {
        case .wrongToken: "the join token is not known here: it was revoked, or is another hub's; create a new one"
        case .expiredToken: "the join token has expired: create a new one with `warren-hub token create`"
        case .usedUpToken: "the join token is used up: create a new one, with a higher --uses for several agents"
        case .invalidProof: "the signature by the identity key does not verify"
        case .invalidName(let name):
            "the name \"\(name)\" is not valid: use 1 to 63 lower-case letters, digits, '-' and '.'"
        case .nameNotAllowed(let name): "the join token does not allow the name \(name): see --name of `token create`"
        case .noAddress: "no virtual address was asked for: the CNI plugin gives one"
        case .tooManyAddresses: "more than \(Credential.addressLimit) virtual addresses were asked for"
        case .addressNotAllowed(let address):
            "the address \(address) is outside the mesh's or the token's ranges: see --range of `token create`"
        case .nameTaken(let name):
            "the name \(name) is held by another agent: use another, or free it with `warren-hub release \(name)`"
        case .addressTaken(let address):
            "the address \(address) is held by another agent: use another, or free it with `warren-hub release \(address)`"
        case .wrongKind(.node): "the token is a node's: an agent joins with one that was made without --node"
        case .wrongKind(.agent): "the token is an agent's: a node needs one made by `warren-hub token create --node`"
        case .nodeNameTaken(let name):
            "another node called \(name) has a block: if it is gone, free that with `warren-hub release-node \(name)`"
        case .noBlockLeft:
            "all address blocks of the mesh are leased: free those of nodes that are gone with `warren-hub release-node`"
        case .notMember: "no live credential is known for this identity key: join again with a token"
        }
    }
}
