package import Addressing
package import Sodium
package import Timing

/// How an agent is reached now, by its own word: a JWS (RFC 7515) by its identity key over its WireGuard public keys and
/// its home relays, and the ports that it serves.
///
/// ```
/// header   {"alg":"EdDSA","typ":"announcement"}
/// payload  {"iss":AGENTID,"seq":N,"exp":N,"keys":[{"k":KEY,"nbf":N,"exp":N}…],"relays":[{"id":RELAY,"at":ENDPOINT}…],
///           "services":["NAME/TRANSPORT/PORT"…]}
/// ```
/// AGENTID and RELAY are 32 hex digits, KEY base64url; without services that member is left out, and its unknown forms are
/// passed over. A value of this type has been verified or was just made. Its text
/// is at most 1,100 bytes.
package struct Announcement: Equatable, Sendable {
    package static let keyLimit = 3
    package static let relayLimit = 3

    /// A WireGuard public key and when it may be used.
    package struct StaticKey: Equatable, Sendable {
        package let key: X25519.PublicKey
        package let notBefore: WallTime
        package let expires: WallTime

        package init(key: X25519.PublicKey, notBefore: WallTime, expires: WallTime) {
            self.key = key
            self.notBefore = notBefore
            self.expires = expires
        }

        package func isValid(at now: WallTime) -> Bool {
            now.seconds >= notBefore.seconds - Credential.leeway && now.seconds < expires.seconds + Credential.leeway
        }
    }

    /// A relay where the agent is registered.
    package struct HomeRelay: Hashable, Sendable {
        /// The first 16 bytes of BLAKE2b-256 of the relay's Ed25519 key, as an agent's id.
        package let id: AgentID
        package let endpoint: Endpoint

        package init(id: AgentID, endpoint: Endpoint) {
            self.id = id
            self.endpoint = endpoint
        }
    }

    /// The compact JWS, as it is sent.
    package let text: String
    package let id: AgentID
    /// Higher than every announcement of this agent before.
    package let sequence: UInt64
    package let expires: WallTime
    /// In order of preference: the first valid one is the one to start with.
    package let keys: [StaticKey]
    package let relays: [HomeRelay]
    package let services: [AgentService]

    private static let type = "announcement"

    /// Signs an announcement. Times are kept in whole seconds.
    ///
    /// - Throws: `.oversized` for more than three keys, three relays or eight services, and when all of it is too long;
    ///   `.noValidKey` for no key at all.
    package init(
        identity: Identity, sequence: UInt64, expires: WallTime, keys: [StaticKey], relays: [HomeRelay],
        services: [AgentService] = []
    ) throws(MembershipError) {
        guard !keys.isEmpty else { throw .noValidKey }
        guard keys.count <= Self.keyLimit else { throw .oversized(what: "keys", limit: Self.keyLimit, got: keys.count) }
        guard relays.count <= Self.relayLimit else {
            throw .oversized(what: "relays", limit: Self.relayLimit, got: relays.count)
        }
        guard services.count <= AgentService.limit else {
            throw .oversized(what: "services", limit: AgentService.limit, got: services.count)
        }
        var members: [JSONValue.Member] = [
            .init("iss", .string(identity.id.description)), .init("seq", .number(sequence)),
            .init("exp", .numericDate(expires.seconds)),
            .init(
                "keys",
                .array(
                    keys.map {
                        .object([
                            .init("k", .string(Base64.encodeURL($0.key.bytes))),
                            .init("nbf", .numericDate($0.notBefore.seconds)),
                            .init("exp", .numericDate($0.expires.seconds)),
                        ])
                    })),
            .init(
                "relays",
                .array(
                    relays.map {
                        .object([
                            .init("id", .string($0.id.description)), .init("at", .string($0.endpoint.description)),
                        ])
                    })),
        ]
        if !services.isEmpty { members.append(.init("services", .array(services.map { .string($0.description) }))) }
        let text = try JWS.sign(
            type: Self.type, keyID: nil, payload: .object(members), what: "announcement", with: identity.sign)
        guard text.utf8.count <= JWS.datagramLimit else {
            throw .oversized(what: "announcement", limit: JWS.datagramLimit, got: text.utf8.count)
        }
        let parsed = try Self(parsing: try JWS(text, type: Self.type, what: "announcement"), text: text)
        self = parsed
    }

    /// Verifies `text` as an announcement of the agent whose identity key this is, valid at `now`.
    package init(
        verifying text: String, identityKey: Ed25519.PublicKey, now: WallTime
    ) throws(MembershipError) {
        let jws = try JWS(text, type: Self.type, what: "announcement")
        guard jws.isSigned(by: identityKey) else { throw .invalidSignature("announcement") }
        let parsed = try Self(parsing: jws, text: text)
        guard parsed.id == AgentID(identityKey: identityKey) else { throw .foreignAnnouncement }
        guard now.seconds < parsed.expires.seconds + Credential.leeway else { throw .expired("announcement") }
        self = parsed
    }

    private init(parsing jws: JWS, text: String) throws(MembershipError) {
        let payload = jws.payload
        guard let id = payload["iss"]?.string.flatMap({ AgentID($0) }), let sequence = payload["seq"]?.number,
            let expires = payload["exp"]?.numericDate,
            let keys = payload["keys"]?.array, (1...Self.keyLimit).contains(keys.count),
            let relays = payload["relays"]?.array, relays.count <= Self.relayLimit
        else { throw .malformed("announcement") }
        self.text = text
        self.id = id
        self.sequence = sequence
        self.expires = WallTime(seconds: expires)
        self.keys = keys.compactMap(Self.staticKey)
        self.relays = relays.compactMap(Self.homeRelay)
        // Those of a later version are nothing to refuse an agent for.
        let services = payload["services"]?.array ?? []
        self.services = services.prefix(AgentService.limit).compactMap { $0.string.flatMap { AgentService($0) } }
        guard self.keys.count == keys.count, self.relays.count == relays.count else { throw .malformed("announcement") }
    }

    private static func staticKey(_ value: JSONValue) -> StaticKey? {
        guard let key = value["k"]?.string.flatMap({ Base64.decodeURL($0) }).flatMap({ Bytes32($0) }), !key.isZero,
            let notBefore = value["nbf"]?.numericDate, let expires = value["exp"]?.numericDate
        else { return nil }
        return StaticKey(
            key: key, notBefore: WallTime(seconds: notBefore), expires: WallTime(seconds: expires))
    }

    private static func homeRelay(_ value: JSONValue) -> HomeRelay? {
        guard let id = value["id"]?.string.flatMap({ AgentID($0) }),
            let endpoint = value["at"]?.string.flatMap({ Endpoint($0) })
        else { return nil }
        return HomeRelay(id: id, endpoint: endpoint)
    }
}
