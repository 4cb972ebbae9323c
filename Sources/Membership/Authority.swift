package import Addressing
package import Sodium
package import Timing

/// The mesh's one trusted party: decides who is a member, and signs it. No store and no clock: both come in as values.
package final class Authority: Sendable {
    private let key: Ed25519.PrivateKey
    package let publicKey: Ed25519.PublicKey
    package let mesh: String
    /// The mesh's virtual address space; nothing outside is ever signed.
    package let ranges: [IPPrefix]
    package let lifetime: Int64

    package init(
        mesh: String, ranges: [IPPrefix], key: consuming Ed25519.PrivateKey, lifetime: Int64 = Credential.lifetime
    ) {
        publicKey = key.publicKey
        self.key = key
        self.mesh = mesh
        self.ranges = ranges
        self.lifetime = lifetime
    }

    /// What a join would be given, if all of it is free.
    package struct Admission: Equatable, Sendable {
        package let name: String
        package let addresses: [IPAddress]
        /// The token's.
        package var groups: [GroupName] = []
        /// False for an agent that comes again with the token it came with before.
        package let usesToken: Bool
    }

    /// Decides a join, except whether name and addresses are free (`checkFree`).
    ///
    /// - Parameters:
    ///   - token: what is kept under the request's token hash; nil when there is nothing.
    ///   - current: the requester's own lease, if it has one.
    package func admit(
        _ request: JoinRequest, signature: [UInt8], nonce: Bytes32, pin: Bytes32, token: TokenGrant?, current: Lease?,
        now: WallTime
    ) throws(Refusal) -> Admission {
        guard let token, constantTimeEqual(token.hash.bytes.span, request.tokenHash.bytes.span) else {
            throw .wrongToken
        }
        guard Ed25519.verify(signature, of: request.proof(nonce: nonce, pin: pin), by: request.identityKey) else {
            throw .invalidProof
        }
        guard token.kind == .agent else { throw .wrongKind(token.kind) }
        guard now < token.expires else { throw .expiredToken }

        let name = request.name.isEmpty ? token.pattern.name(digits: request.id.description) : request.name
        guard AgentName.isValid(name) else { throw .invalidName(name) }
        guard token.pattern.matches(name) else { throw .nameNotAllowed(name) }
        let addresses = request.addresses
        guard !addresses.isEmpty else { throw .noAddress }
        guard addresses.count <= Credential.addressLimit, Set(addresses).count == addresses.count else {
            throw .tooManyAddresses
        }
        for address in addresses {
            let isAllowed =
                ranges.contains { $0.contains(address) && !ResolverAddress.isOne(address) }
                && (token.ranges.isEmpty || token.ranges.contains { $0.contains(address) })
            guard isAllowed else { throw .addressNotAllowed(address) }
        }

        let returns =
            current.map {
                $0.identityKey == request.identityKey && $0.tokenHash == token.hash && $0.name == name
                    && $0.isLive(at: now)
            } ?? false
        guard returns || token.usesLeft > 0 else { throw .usedUpToken }
        return Admission(name: name, addresses: addresses, groups: token.groups, usesToken: !returns)
    }

    /// Refuses what another identity key holds in a live credential.
    ///
    /// - Parameter holders: for each thing wanted, the lease that holds it now.
    package static func checkFree(
        name: String, nameHolder: Lease?, addressHolders: [(IPAddress, Lease)], for identityKey: Ed25519.PublicKey,
        now: WallTime
    ) throws(Refusal) {
        if let holder = nameHolder, holder.identityKey != identityKey, holder.isLive(at: now) { throw .nameTaken(name) }
        for (address, holder) in addressHolders where holder.identityKey != identityKey && holder.isLive(at: now) {
            throw .addressTaken(address)
        }
    }

    /// Decides a renewal or a leave: proof of the identity key, and a lease that is still live.
    package func checkMember(
        _ purpose: Proof.Purpose, identityKey: Ed25519.PublicKey, signature: [UInt8], nonce: Bytes32, pin: Bytes32,
        current: Lease?, now: WallTime
    ) throws(Refusal) -> Lease {
        let message = Proof.message(purpose, nonce: nonce, pin: pin, request: identityKey.bytes)
        guard Ed25519.verify(signature, of: message, by: identityKey) else { throw .invalidProof }
        guard let current, current.identityKey == identityKey, current.isLive(at: now) else { throw .notMember }
        return current
    }

    /// Signs a credential from `now` on. The caller holds name and addresses in a lease at least as long.
    ///
    /// - Parameters:
    ///   - pod: for a pod of a cluster, whose name then is `pod.agentName`.
    ///   - expires: where it is to end earlier than by its usual life.
    package func issue(
        name: String, addresses: [IPAddress], groups: [GroupName] = [], pod: PodIdentity? = nil,
        identityKey: Ed25519.PublicKey, now: WallTime, expires: WallTime? = nil,
        using random: inout some RandomNumberGenerator
    ) throws(MembershipError) -> Credential {
        let serial = AgentID(high: random.next(), low: random.next()).description
        return try Credential(
            mesh: mesh, name: name, pod: pod, identityKey: identityKey, addresses: addresses, groups: groups,
            issued: now, expires: expires ?? WallTime(seconds: now.seconds + lifetime), serial: serial,
            authorityKey: publicKey,
            sign: { key.sign($0) })
    }
}
