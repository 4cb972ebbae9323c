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
    /// The hub reviews no tokens of service accounts.
    case accountsNotServed
    /// The API server, or a look at it, says that the service account's token is none; why.
    case wrongAccount(String)
    /// The service account is not the one that nodes have.
    case notNodeAccount(String)
    /// Pod, namespace or service account have names that no agent can have, or that together are too long.
    case unusablePodName(String)
    /// The node that the pod runs on has no block here.
    case noNodeBlock(String)
    case outsideNodeBlock(IPAddress, node: String)
}

extension Refusal: CustomStringConvertible {
    package var description: String {
        switch self {
        case .wrongToken: "the join token is not known here: it was revoked, or is another hub's; create a new one"
        case .expiredToken: "the join token has expired: create a new one with `warren-hub token create`"
        case .usedUpToken: "the join token is used up: create a new one, with a higher --uses for several agents"
        case .invalidProof: "the signature by the identity key does not verify"
        case .invalidName(let name):
            "the name \"\(name)\" is not valid: use lower-case letters, digits and '-', 1 to 63 between dots, 127 in all"
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
        case .accountsNotServed:
            "this hub knows no service accounts: join with a token, or serve it with `warren-hub serve --kubernetes`"
        case .wrongAccount(let why):
            "the service account's token is not accepted: \(why); it must be a projected token of a running pod, for the hub's audience"
        case .notNodeAccount(let account):
            "service account \(account) may lease no address block: see --node-service-account of `warren-hub serve`"
        case .unusablePodName(let name):
            "\(name) can't be an agent's: pod and namespace make a DNS name of at most 127 characters, 63 between dots, and with the service account's they fit a credential; use shorter names"
        case .noNodeBlock(let node): "node \(node) has leased no address block here: is warren-node running on it?"
        case .outsideNodeBlock(let address, let node):
            "the address \(address) is outside the block that is leased to node \(node): the CNI plugin there gives one"
        case .notMember: "no live credential is known for this identity key: join again with a token"
        }
    }
}
