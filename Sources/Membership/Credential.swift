package import Addressing
package import Sodium
package import Timing

/// Who an agent is, by the mesh authority's word: a JWT with EdDSA (RFC 7519, RFC 8037) whose `cnf` is the agent's identity
/// key (RFC 7800).
///
/// ```
/// header  {"alg":"EdDSA","typ":"JWT","kid":AUTHORITY}                       AUTHORITY: 32 hex digits, as an agent id
/// claims  {"iss":MESH,"sub":SUBJECT,"name":NAME,
///          "cnf":{"jwk":{"kty":"OKP","crv":"Ed25519","x":KEY}},"ips":[ADDRESS…],"groups":[GROUP…],
///          "iat":N,"exp":N,"jti":ID}
/// ```
/// SUBJECT is `spiffe://MESH/agent/NAME`, or a pod's (see `PodIdentity`), whose NAME is then `POD.NAMESPACE`. `groups` is
/// missing where there are none.
/// A value of this type has been verified or was just issued. Its text is at most 1,100 bytes.
package struct Credential: Equatable, Sendable {
    /// How long a credential is valid: 24 hours. It is renewed at half of it.
    package static let lifetime: Int64 = 86400
    package static let addressLimit = 4
    /// How far two clocks may be apart: seconds.
    package static let leeway: Int64 = 60

    /// The compact JWT, as it is sent.
    package let text: String
    package let mesh: String
    package let name: String
    /// Nil for one that is no pod of a cluster, as far as the authority knows.
    package let pod: PodIdentity?
    package let identityKey: Ed25519.PublicKey
    package let addresses: [IPAddress]
    package let groups: [GroupName]
    package let issued: WallTime
    package let expires: WallTime
    /// The token's own id (`jti`): 32 hexadecimal digits.
    package let serial: String

    package var id: AgentID { AgentID(identityKey: identityKey) }
    package var subject: String { pod?.subject(mesh: mesh) ?? Self.subject(mesh: mesh, name: name) }
    /// When to renew: half-way through.
    package var renewal: WallTime { WallTime(seconds: issued.seconds + (expires.seconds - issued.seconds) / 2) }

    package static func subject(mesh: String, name: String) -> String { "spiffe://\(mesh)/agent/\(name)" }

    /// The `kid` of an authority's key.
    package static func keyID(of authorityKey: Ed25519.PublicKey) -> String {
        AgentID(identityKey: authorityKey).description
    }

    /// Verifies `text` offline.
    ///
    /// - Throws: `MembershipError` for anything but a credential of `mesh`, signed by `authorityKey`, valid at `now`.
    package init(
        verifying text: String, mesh: String, authorityKey: Ed25519.PublicKey, now: WallTime
    ) throws(MembershipError) {
        let jws = try JWS(text, type: "JWT", what: "credential")
        guard jws.header["kid"]?.string == Self.keyID(of: authorityKey) else { throw .unknownAuthorityKey }
        guard jws.isSigned(by: authorityKey) else { throw .invalidSignature("credential") }

        let claims = jws.payload
        let jwk = claims["cnf"]?["jwk"]
        guard let issuer = claims["iss"]?.string, let name = claims["name"]?.string,
            let subject = claims["sub"]?.string,
            jwk?["kty"]?.string == "OKP", jwk?["crv"]?.string == "Ed25519",
            let identityKey = jwk?["x"]?.string.flatMap({ Base64.decodeURL($0) }).flatMap({ Bytes32($0) }),
            let addresses = claims["ips"]?.strings?.map({ IPAddress($0) }),
            let issued = claims["iat"]?.numericDate, let expires = claims["exp"]?.numericDate,
            let serial = claims["jti"]?.string, let groups = GroupName.list(claims["groups"])
        else { throw .malformed("credential") }
        guard issuer == mesh else { throw .foreignMesh(issuer) }
        guard AgentName.isValid(name) else { throw .invalidName(name) }
        let parsed = addresses.compactMap(\.self)
        let pod = PodIdentity(subject: subject, mesh: mesh)
        guard pod.map({ $0.agentName == name }) ?? (subject == Self.subject(mesh: mesh, name: name)), issued < expires,
            parsed.count == addresses.count,
            (1...Self.addressLimit).contains(parsed.count), Set(parsed).count == parsed.count, serial.utf8.count <= 32
        else { throw .malformed("credential") }
        guard now.seconds < expires + Self.leeway else { throw .expired("credential") }
        guard now.seconds >= issued - Self.leeway else { throw .notYetValid("credential") }

        self.text = text
        self.mesh = mesh
        self.name = name
        self.pod = pod
        self.identityKey = identityKey
        self.addresses = parsed
        self.groups = groups
        self.issued = WallTime(seconds: issued)
        self.expires = WallTime(seconds: expires)
        self.serial = serial
    }

    /// Issues a credential; only `Authority` does, and tests that forge one.
    init(
        mesh: String, name: String, pod: PodIdentity? = nil, identityKey: Ed25519.PublicKey, addresses: [IPAddress],
        groups: [GroupName] = [], issued: WallTime, expires: WallTime, serial: String,
        authorityKey: Ed25519.PublicKey, sign: ([UInt8]) -> [UInt8]
    ) throws(MembershipError) {
        let jwk: [JSONValue.Member] = [
            .init("kty", .string("OKP")), .init("crv", .string("Ed25519")),
            .init("x", .string(Base64.encodeURL(identityKey.bytes))),
        ]
        let subject = pod?.subject(mesh: mesh) ?? Self.subject(mesh: mesh, name: name)
        var members: [JSONValue.Member] = [
            .init("iss", .string(mesh)), .init("sub", .string(subject)),
            .init("name", .string(name)), .init("cnf", .object([.init("jwk", .object(jwk))])),
            .init("ips", .array(addresses.map { .string($0.description) })),
        ]
        if !groups.isEmpty { members.append(.init("groups", GroupName.json(groups))) }
        members += [
            .init("iat", .numericDate(issued.seconds)), .init("exp", .numericDate(expires.seconds)),
            .init("jti", .string(serial)),
        ]
        text = try JWS.sign(
            type: "JWT", keyID: Self.keyID(of: authorityKey), payload: .object(members), what: "credential", with: sign)
        self.mesh = mesh
        self.name = name
        self.pod = pod
        self.identityKey = identityKey
        self.addresses = addresses
        self.groups = groups
        self.issued = WallTime(seconds: issued.seconds)
        self.expires = WallTime(seconds: expires.seconds)
        self.serial = serial
    }
}
