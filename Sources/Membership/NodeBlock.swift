package import Addressing
package import Sodium
package import Timing

/// The part of a mesh's addresses that one node gives out: a number, and what follows from it.
///
///     IPv6:  48 bits mesh | 16 bits number | 64 bits
///     IPv4:  the mesh's range cut into blocks of one size; number n has the block n
///
/// Number 0 is given to nobody: its IPv4 block begins with the range's own network address.
package struct NodeBlock: Equatable, Sendable {
    package let number: UInt16
    package let ipv6: IPPrefix
    /// Nil when the mesh has no IPv4 range.
    package let ipv4: IPPrefix?

    package init(number: UInt16, ipv6: IPPrefix, ipv4: IPPrefix?) {
        self.number = number
        self.ipv6 = ipv6
        self.ipv4 = ipv4
    }

    package func contains(_ address: IPAddress) -> Bool {
        address.isIPv6 ? ipv6.contains(address) : ipv4?.contains(address) ?? false
    }
}

/// How a mesh's addresses are cut into blocks, and so how many nodes it can have.
package struct BlockPlan: Equatable, Sendable {
    /// Of an IPv4 block, where nothing else is said: 254 pods a node.
    package static let ipv4Length = 24

    private let ipv6: IPv6Address
    private let ipv4: (base: UInt32, length: Int)?
    private let blockLength: Int

    /// - Parameter ranges: the mesh's: an IPv6 /48, and an IPv4 range or none. Nil for others.
    /// - Parameter blockLength: of IPv4 blocks, which are smaller where the range would have fewer than 16 of them.
    package init?(ranges: [IPPrefix], blockLength: Int = ipv4Length) {
        guard let mesh = ranges.first(where: { $0.address.isIPv6 }), mesh.length == 48,
            case .v6(let base) = mesh.masked.address
        else { return nil }
        ipv6 = base
        guard let range = ranges.first(where: { !$0.address.isIPv6 }), case .v4(let first) = range.masked.address
        else {
            ipv4 = nil
            self.blockLength = blockLength
            return
        }
        guard (1...30).contains(range.length), (1...30).contains(blockLength) else { return nil }
        ipv4 = (first.value, range.length)
        self.blockLength = max(blockLength, min(range.length + 4, 30))
    }

    /// The highest number there is; 0 when the range has room for no node.
    package var last: UInt16 {
        guard let ipv4 else { return .max }
        return UInt16(clamping: (UInt64(1) << UInt64(blockLength - ipv4.length)) - 1)
    }

    /// Nil for 0 and for what is above `last`.
    package func block(_ number: UInt16) -> NodeBlock? {
        guard number > 0, number <= last,
            let six = IPPrefix(.v6(IPv6Address(high: ipv6.high | UInt64(number), low: 0)), length: 64)
        else { return nil }
        let four = ipv4.flatMap { ipv4 in
            let first = ipv4.base + UInt32(number) << UInt32(32 - blockLength)
            return IPPrefix(.v4(IPv4Address(value: first)), length: blockLength)
        }
        return NodeBlock(number: number, ipv6: six, ipv4: four)
    }

    package static func == (left: Self, right: Self) -> Bool {
        left.ipv6 == right.ipv6 && left.blockLength == right.blockLength
            && left.ipv4?.base == right.ipv4?.base && left.ipv4?.length == right.ipv4?.length
    }
}

/// The block number that a node holds until `expires`.
package struct NodeLease: Equatable, Sendable {
    /// Long: a node that was away for some days finds its pods' addresses still its own. Renewed every few hours.
    package static let lifetime: Int64 = 7 * 86400

    package let identityKey: Ed25519.PublicKey
    package let name: String
    package let number: UInt16
    package let expires: WallTime

    package init(identityKey: Ed25519.PublicKey, name: String, number: UInt16, expires: WallTime) {
        self.identityKey = identityKey
        self.name = name
        self.number = number
        self.expires = expires
    }

    package var id: AgentID { AgentID(identityKey: identityKey) }

    /// A day longer than the node was told: its pods' own credentials may live on for so long.
    package func isLive(at now: WallTime) -> Bool {
        now.seconds < expires.seconds + Credential.lifetime + Credential.leeway
    }

    package var json: JSONValue {
        .object([
            .init("key", .string(Base64.encodeURL(identityKey.bytes))), .init("name", .string(name)),
            .init("number", .number(UInt64(number))), .init("exp", .numericDate(expires.seconds)),
        ])
    }

    package init?(json: JSONValue) {
        guard let key = json["key"]?.string.flatMap({ Base64.decodeURL($0) }).flatMap({ Bytes32($0) }),
            let name = json["name"]?.string, let number = json["number"]?.number.flatMap({ UInt16(exactly: $0) }),
            let expires = json["exp"]?.numericDate
        else { return nil }
        self.init(identityKey: key, name: name, number: number, expires: WallTime(seconds: expires))
    }
}

/// What a node asks of the authority, except the token's secret and the signature.
package struct BlockRequest: Equatable, Sendable {
    package let identityKey: Ed25519.PublicKey
    package let name: String
    /// `JoinToken.hash(ofSecret:)`.
    package let tokenHash: Bytes32

    package init(identityKey: Ed25519.PublicKey, name: String, tokenHash: Bytes32) {
        self.identityKey = identityKey
        self.name = name
        self.tokenHash = tokenHash
    }

    package var id: AgentID { AgentID(identityKey: identityKey) }

    /// What the identity key signs: key (32), token hash (32), and the name after a length byte.
    package func proof(nonce: Bytes32, pin: Bytes32) -> [UInt8] {
        let name = Array(name.utf8)
        let request = identityKey.bytes + tokenHash.bytes + [UInt8(clamping: name.count)] + name
        return Proof.message(.lease, nonce: nonce, pin: pin, request: request)
    }
}
