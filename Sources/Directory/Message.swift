package import Addressing
package import Membership
package import Sodium
package import Timing

/// A message between an agent and a hub, over TLS.
///
/// `request` pairs a question with its answer; the client counts it up from 1. Types 0xC1…0xC5 and 0xD5…0xD9 are the
/// authority's, 0xC6…0xD1 and 0xDE…0xE1 the directory's, the others belong to any connection.
package enum Message: Equatable, Sendable {
    /// The server's first message: the nonce that this connection's signatures are over.
    case hello(nonce: Bytes32, time: WallTime, roles: Roles)

    case join(request: UInt32, Join)
    case joined(request: UInt32, credential: String, MeshInfo)
    case renew(request: UInt32, identityKey: Ed25519.PublicKey, signature: [UInt8])
    case leave(request: UInt32, identityKey: Ed25519.PublicKey, signature: [UInt8])
    case left(request: UInt32)
    /// A node asks for a block of the mesh's addresses, or to keep the one that it has.
    case lease(request: UInt32, Lease)
    case leased(request: UInt32, NodeBlock, expires: WallTime)
    /// A pod joins, or has its credential renewed, by a token of its service account.
    case accountJoin(request: UInt32, AccountProof)
    /// A node asks for its block by a token of its agent's service account.
    case accountLease(request: UInt32, AccountProof)
    /// The authority can't decide now, for a reason that will pass: ask again after `seconds`.
    case later(request: UInt32, seconds: UInt16, text: String)

    case authenticate(request: UInt32, credential: String, signature: [UInt8])
    case authenticated(request: UInt32)
    case publish(request: UInt32, announcement: String)
    case published(request: UInt32, sequence: UInt64)
    /// The directory has this higher or equal sequence number already.
    case stale(request: UInt32, sequence: UInt64)
    /// The agent is about to end: nobody is to be led to it any more. Those who know it already are told nothing.
    case withdraw(request: UInt32)
    case withdrawn(request: UInt32)
    case lookup(request: UInt32, LookupKey)
    case found(request: UInt32, Record)
    case notFound(request: UInt32)
    /// Who is in a group: at most `memberLimit` of them, whose records are to be looked up and say so themselves.
    case members(request: UInt32, GroupName)
    case memberList(request: UInt32, [AgentID])
    /// A newer record of an agent that this connection looked up before.
    case update(Record)
    /// No further updates about this agent.
    case forget(AgentID)
    /// To an agent, or from one: opaque here.
    case signal(peer: AgentID, payload: [UInt8])
    /// The agent that a signal was for is not connected.
    case undeliverable(AgentID)

    case ping(UInt64)
    case pong(UInt64)
    /// `request` is 0 when the error is no answer.
    case error(request: UInt32, code: ErrorCode, text: String)

    package static let signalLimit = 1200
    package static let memberLimit = 16

    package struct Join: Equatable, Sendable {
        /// The token's secret; a field of a frame, so that it is not in locked memory for that long.
        package let secret: [UInt8]
        package let identityKey: Ed25519.PublicKey
        package let name: String
        package let addresses: [IPAddress]
        package let signature: [UInt8]

        package init(
            secret: [UInt8], identityKey: Ed25519.PublicKey, name: String, addresses: [IPAddress], signature: [UInt8]
        ) {
            self.secret = secret
            self.identityKey = identityKey
            self.name = name
            self.addresses = addresses
            self.signature = signature
        }
    }

    package struct Lease: Equatable, Sendable {
        /// The token's secret; zeros for a node that keeps its block.
        package let secret: [UInt8]
        package let identityKey: Ed25519.PublicKey
        package let name: String
        package let signature: [UInt8]

        package init(secret: [UInt8], identityKey: Ed25519.PublicKey, name: String, signature: [UInt8]) {
            self.secret = secret
            self.identityKey = identityKey
            self.name = name
            self.signature = signature
        }
    }

    package struct AccountProof: Equatable, Sendable {
        /// The token; a field of a frame, so that it is not in locked memory for that long.
        package let token: [UInt8]
        package let identityKey: Ed25519.PublicKey
        /// None for a node.
        package let addresses: [IPAddress]
        package let signature: [UInt8]

        package init(token: [UInt8], identityKey: Ed25519.PublicKey, addresses: [IPAddress], signature: [UInt8]) {
            self.token = token
            self.identityKey = identityKey
            self.addresses = addresses
            self.signature = signature
        }
    }

    /// What a directory is asked for.
    package enum LookupKey: Hashable, Sendable, CustomStringConvertible {
        case address(IPAddress)
        case name(String)
        case id(AgentID)

        package var description: String {
            switch self {
            case .address(let address): address.description
            case .name(let name): name
            case .id(let id): id.description
            }
        }
    }

    /// The roles that a server has, as bits.
    package struct Roles: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let authority = Roles(rawValue: 1)
        package static let directory = Roles(rawValue: 2)
        package static let relay = Roles(rawValue: 4)
    }
}

/// Why a hub says no, as a number on the wire; unknown numbers are kept.
package struct ErrorCode: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let wrongToken = ErrorCode(rawValue: 1)
    package static let expiredToken = ErrorCode(rawValue: 2)
    package static let usedUpToken = ErrorCode(rawValue: 3)
    package static let invalidProof = ErrorCode(rawValue: 4)
    package static let nameNotAllowed = ErrorCode(rawValue: 5)
    package static let addressNotAllowed = ErrorCode(rawValue: 6)
    package static let nameTaken = ErrorCode(rawValue: 7)
    package static let addressTaken = ErrorCode(rawValue: 8)
    package static let notMember = ErrorCode(rawValue: 9)
    /// A role that this server has not, or a question before authentication.
    package static let notServed = ErrorCode(rawValue: 10)
    package static let notAuthenticated = ErrorCode(rawValue: 11)
    /// A credential or announcement does not verify.
    package static let invalidRecord = ErrorCode(rawValue: 12)
    package static let tooMany = ErrorCode(rawValue: 13)
    /// The hub failed: not the agent's fault, try again.
    package static let `internal` = ErrorCode(rawValue: 14)
    /// The same agent connected again.
    package static let replaced = ErrorCode(rawValue: 15)
    /// A node's token where an agent's is needed, or the other way round.
    package static let wrongKind = ErrorCode(rawValue: 16)
    package static let noBlockLeft = ErrorCode(rawValue: 17)
    /// The token of a service account is not accepted.
    package static let wrongAccount = ErrorCode(rawValue: 18)

    package init(_ refusal: Refusal) {
        self =
            switch refusal {
            case .wrongToken: .wrongToken
            case .expiredToken: .expiredToken
            case .usedUpToken: .usedUpToken
            case .invalidProof: .invalidProof
            case .invalidName, .nameNotAllowed, .unusablePodName: .nameNotAllowed
            case .noAddress, .tooManyAddresses, .addressNotAllowed, .outsideNodeBlock: .addressNotAllowed
            case .nameTaken, .nodeNameTaken: .nameTaken
            case .addressTaken: .addressTaken
            case .notMember: .notMember
            case .wrongKind, .notNodeAccount: .wrongKind
            case .noBlockLeft, .noNodeBlock: .noBlockLeft
            case .accountsNotServed: .notServed
            case .wrongAccount: .wrongAccount
            }
    }
}
