package import Addressing
package import Sodium
package import Timing

/// What a join token allows, as the authority keeps it: under the secret's hash, never the secret.
package struct TokenGrant: Equatable, Sendable {
    /// Who may use it: what an agent's token gives, a node's does not, and the other way round.
    package enum Kind: String, Sendable {
        case agent, node
    }

    package let kind: Kind
    /// `JoinToken.hash(ofSecret:)`.
    package let hash: Bytes32
    package let pattern: NamePattern
    /// Where addresses may be; empty for all of the mesh's.
    package let ranges: [IPPrefix]
    /// What its agents are members of.
    package let groups: [GroupName]
    package var usesLeft: UInt64
    package let expires: WallTime

    package init(
        kind: Kind = .agent, hash: Bytes32, pattern: NamePattern, ranges: [IPPrefix],
        groups: [GroupName] = [], usesLeft: UInt64, expires: WallTime
    ) {
        self.kind = kind
        self.hash = hash
        self.pattern = pattern
        self.ranges = ranges
        self.groups = groups
        self.usesLeft = usesLeft
        self.expires = expires
    }

    package var json: JSONValue {
        .object([
            .init("name", .string(pattern.description)),
            .init("ranges", .array(ranges.map { .string($0.description) })), .init("groups", GroupName.json(groups)),
            .init("uses", .number(usesLeft)), .init("exp", .numericDate(expires.seconds)),
            .init("kind", .string(kind.rawValue)),
        ])
    }

    package init?(hash: Bytes32, json: JSONValue) {
        guard let pattern = json["name"]?.string.flatMap({ NamePattern($0) }), let ranges = json["ranges"]?.strings,
            let usesLeft = json["uses"]?.number, let expires = json["exp"]?.numericDate,
            let groups = GroupName.list(json["groups"])
        else { return nil }
        let parsed = ranges.compactMap { IPPrefix($0) }
        // Tokens that were made before there were others are agents'.
        guard parsed.count == ranges.count, let kind = Kind(rawValue: json["kind"]?.string ?? Kind.agent.rawValue)
        else {
            return nil
        }
        self.init(
            kind: kind, hash: hash, pattern: pattern, ranges: parsed, groups: groups, usesLeft: usesLeft,
            expires: WallTime(seconds: expires))
    }
}

/// Name and addresses that an agent holds until its credential expires.
package struct Lease: Equatable, Sendable {
    package let identityKey: Ed25519.PublicKey
    package let name: String
    package let addresses: [IPAddress]
    package let groups: [GroupName]
    package let expires: WallTime
    /// The join token that it came in with; zero for a pod's.
    package let tokenHash: Bytes32
    /// The pod that it is for, if it came in by its service account.
    package let pod: LeasedPod?

    package init(
        identityKey: Ed25519.PublicKey, name: String, addresses: [IPAddress], groups: [GroupName] = [],
        expires: WallTime, tokenHash: Bytes32, pod: LeasedPod? = nil
    ) {
        self.identityKey = identityKey
        self.name = name
        self.addresses = addresses
        self.groups = groups
        self.expires = expires
        self.tokenHash = tokenHash
        self.pod = pod
    }

    package var id: AgentID { AgentID(identityKey: identityKey) }

    /// Whether peers may still accept the credential: what it holds is not free before.
    package func isLive(at now: WallTime) -> Bool { now.seconds < expires.seconds + Credential.leeway }

    package var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("key", .string(Base64.encodeURL(identityKey.bytes))), .init("name", .string(name)),
            .init("ips", .array(addresses.map { .string($0.description) })), .init("groups", GroupName.json(groups)),
            .init("exp", .numericDate(expires.seconds)), .init("token", .string(tokenHash.description)),
        ]
        if let pod { members.append(.init("pod", pod.json)) }
        return .object(members)
    }

    package init?(json: JSONValue) {
        guard let key = json["key"]?.string.flatMap({ Base64.decodeURL($0) }).flatMap({ Bytes32($0) }),
            let name = json["name"]?.string, let ips = json["ips"]?.strings, let expires = json["exp"]?.numericDate,
            let token = json["token"]?.string.flatMap({ Hexadecimal.decode($0) }).flatMap({ Bytes32($0) }),
            let groups = GroupName.list(json["groups"])
        else { return nil }
        let addresses = ips.compactMap { IPAddress($0) }
        let pod = json["pod"].map { LeasedPod(json: $0) }
        // A pod that can't be read must not become an agent without one, which renews by its key alone.
        guard addresses.count == ips.count, pod.map({ $0 != nil }) ?? true else { return nil }
        self.init(
            identityKey: key, name: name, addresses: addresses, groups: groups, expires: WallTime(seconds: expires),
            tokenHash: token, pod: pod ?? nil)
    }
}
