package import Addressing
package import Membership
package import NIOCore
package import Sodium
package import Timing

/// An agent's conversations with its authority: join, renew, leave. Each makes one connection and closes it.
package struct AuthorityClient: Sendable {
    /// What a join or a renewal brings, verified.
    package struct Admission: Equatable, Sendable {
        package let credential: Credential
        package let mesh: MeshInfo
        /// The hub's clock when it answered, to tell a wrong clock here.
        package let hubTime: WallTime
    }

    /// From connection to answer.
    package static let timeout = TimeAmount.seconds(15)

    private let pin: Bytes32
    private let verifier: RecordVerifier
    private let link: HubLink
    private let now: @Sendable () -> WallTime

    package init(
        address: HubAddress, pin: Bytes32, verifier: RecordVerifier, proxy: HTTPProxy? = nil,
        group: any EventLoopGroup = HubLink.group, now: @escaping @Sendable () -> WallTime = { WallTime.now() }
    ) throws(DirectoryError) {
        link = try HubLink(to: address, pin: pin, proxy: proxy, group: group)
        self.pin = pin
        self.verifier = verifier
        self.now = now
    }

    /// The authority that `token` names.
    package init(
        token: borrowing JoinToken, proxy: HTTPProxy? = nil, group: any EventLoopGroup = HubLink.group,
        now: @escaping @Sendable () -> WallTime = { WallTime.now() }
    ) throws(DirectoryError) {
        try self.init(
            address: token.address, pin: token.pin,
            verifier: RecordVerifier(mesh: token.mesh, authorityKey: token.authorityKey), proxy: proxy,
            group: group, now: now)
    }

    /// The authority that `hub` names.
    package init(
        hub: HubReference, proxy: HTTPProxy? = nil, group: any EventLoopGroup = HubLink.group,
        now: @escaping @Sendable () -> WallTime = { WallTime.now() }
    ) throws(DirectoryError) {
        try self.init(
            address: hub.address, pin: hub.pin,
            verifier: RecordVerifier(mesh: hub.mesh, authorityKey: hub.authorityKey), proxy: proxy, group: group,
            now: now)
    }

    /// Joins with a token's secret.
    ///
    /// - Parameters:
    ///   - name: empty for the one that the token gives.
    ///   - addresses: the virtual addresses that the CNI plugin gave.
    /// - Throws: `.refused` with `.wrongToken`, `.expiredToken`, `.usedUpToken`, `.nameTaken`, `.addressTaken`,
    ///   `.nameNotAllowed` or `.addressNotAllowed`; `.unreachable`, `.wrongPin`, `.timeout` and the like.
    package func join(
        secret: borrowing SecretKey, identity: Identity, name: String, addresses: [IPAddress]
    ) async throws(DirectoryError) -> Admission {
        var secretBytes = secret.exportBytes()
        defer { unsafe secretBytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        let request = JoinRequest(
            identityKey: identity.publicKey, name: name, addresses: addresses,
            tokenHash: JoinToken.hash(ofSecret: secretBytes))
        let (pin, bytes) = (pin, secretBytes)
        return try await admission(identity) { nonce in
            .join(
                request: 1,
                Message.Join(
                    secret: bytes, identityKey: identity.publicKey, name: name, addresses: addresses,
                    signature: identity.sign(request.proof(nonce: nonce, pin: pin))))
        }
    }

    /// Joins as the pod that `token` is for; an agent that has joined has its credential renewed.
    ///
    /// - Parameter token: a service account's, projected for the hub's audience. The caller wipes it.
    /// - Throws: `.later` while the cluster can't be asked; `.refused` with `.wrongAccount`, `.notServed`, `.nameTaken`,
    ///   `.addressNotAllowed`; `.unreachable` and the like.
    package func join(
        account token: [UInt8], identity: Identity, addresses: [IPAddress]
    ) async throws(DirectoryError) -> Admission {
        try await admission(identity) { nonce in
            .accountJoin(request: 1, account(token, .accountJoin, identity, addresses, nonce))
        }
    }

    /// Leases its block to the node that the pod of `token` runs on, or keeps it.
    ///
    /// - Parameter token: as of `join`, of the service account that the hub knows as the nodes'.
    /// - Throws: as `join`, and `.refused` with `.wrongKind` or `.noBlockLeft`.
    package func lease(account token: [UInt8], identity: Identity) async throws(DirectoryError) -> Leased {
        let (answer, _) = try await exchange { nonce in
            .accountLease(request: 1, account(token, .accountLease, identity, [], nonce))
        }
        guard case .leased(_, let block, let expires) = answer else { throw .protocolViolation("no answer to lease") }
        return Leased(block: block, expires: expires)
    }

    private func account(
        _ token: [UInt8], _ purpose: Proof.Purpose, _ identity: Identity, _ addresses: [IPAddress], _ nonce: Bytes32
    ) -> Message.AccountProof {
        let request = AccountRequest(identityKey: identity.publicKey, addresses: addresses, token: token)
        return Message.AccountProof(
            token: token, identityKey: identity.publicKey, addresses: addresses,
            signature: identity.sign(request.proof(purpose, nonce: nonce, pin: pin)))
    }

    /// Renews the live credential of this identity key: the same name and addresses, another 24 hours. Due at
    /// `Credential.renewal`. A pod's is given anew with the end that it had: only its token makes it last longer.
    package func renew(identity: Identity) async throws(DirectoryError) -> Admission {
        try await admission(identity) { nonce in
            .renew(request: 1, identityKey: identity.publicKey, signature: proof(.renew, identity, nonce))
        }
    }

    /// Gives up name and addresses, so that another agent may have them.
    package func leave(identity: Identity) async throws(DirectoryError) {
        let (answer, _) = try await exchange { nonce in
            .leave(request: 1, identityKey: identity.publicKey, signature: proof(.leave, identity, nonce))
        }
        guard case .left = answer else { throw .protocolViolation("no answer to leave") }
    }

    /// What a lease brings.
    package struct Leased: Equatable, Sendable {
        package let block: NodeBlock
        package let expires: WallTime
    }

    /// Leases a block of the mesh's addresses to a node, or keeps the one that it has for longer.
    ///
    /// - Parameter secret: a node token's.
    /// - Throws: as `join`, and `.refused` with `.wrongKind` or `.noBlockLeft`.
    package func lease(
        secret: borrowing SecretKey, identity: Identity, name: String
    ) async throws(DirectoryError) -> Leased {
        try await lease(secret.exportBytes(), identity, name)
    }

    /// Keeps a block while its lease is live: for that no token is needed.
    package func renewLease(identity: Identity, name: String) async throws(DirectoryError) -> Leased {
        try await lease([UInt8](repeating: 0, count: 32), identity, name)
    }

    private func lease(_ secret: [UInt8], _ identity: Identity, _ name: String) async throws(DirectoryError) -> Leased {
        var secretBytes = secret
        defer { unsafe secretBytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        let request = BlockRequest(
            identityKey: identity.publicKey, name: name, tokenHash: JoinToken.hash(ofSecret: secretBytes))
        let (pin, bytes) = (pin, secretBytes)
        let (answer, _) = try await exchange { nonce in
            .lease(
                request: 1,
                Message.Lease(
                    secret: bytes, identityKey: identity.publicKey, name: name,
                    signature: identity.sign(request.proof(nonce: nonce, pin: pin))))
        }
        guard case .leased(_, let block, let expires) = answer else { throw .protocolViolation("no answer to lease") }
        return Leased(block: block, expires: expires)
    }

    private func proof(_ purpose: Proof.Purpose, _ identity: Identity, _ nonce: Bytes32) -> [UInt8] {
        identity.sign(Proof.message(purpose, nonce: nonce, pin: pin, request: identity.publicKey.bytes))
    }

    private func admission(
        _ identity: Identity, _ question: (Bytes32) -> Message
    ) async throws(DirectoryError) -> Admission {
        let (answer, hubTime) = try await exchange(question)
        guard case .joined(_, let text, let info) = answer else { throw .protocolViolation("no answer to join") }
        let credential: Credential
        do {
            credential = try Credential(
                verifying: text, mesh: verifier.mesh, authorityKey: verifier.authorityKey, now: now())
        } catch { throw .invalidRecord(error) }
        guard credential.identityKey == identity.publicKey else {
            throw .protocolViolation("another agent's credential")
        }
        return Admission(credential: credential, mesh: info, hubTime: hubTime)
    }

    /// One question on a connection of its own; `.refused` when the answer is an error.
    private func exchange(_ question: (Bytes32) -> Message) async throws(DirectoryError) -> (Message, WallTime) {
        let connection = try await link.connect()
        let deadline = connection.channel.eventLoop.scheduleTask(in: Self.timeout) {
            connection.channel.close(promise: nil)
        }
        defer { deadline.cancel() }
        do {
            return try await connection.executeThenClose { inbound, outbound in
                var messages = inbound.makeAsyncIterator()
                guard case .hello(let nonce, let time, _) = try await messages.next() else {
                    throw DirectoryError.protocolViolation("no hello")
                }
                try await outbound.write(question(nonce))
                while let message = try await messages.next() {
                    switch message {
                    case .ping, .pong: continue
                    case .error(_, let code, let text): throw DirectoryError.refused(code, text)
                    case .later(_, let seconds, let text): throw DirectoryError.later(seconds: seconds, text)
                    default: return (message, time)
                    }
                }
                throw DirectoryError.timeout
            }
        } catch let error as DirectoryError { throw error } catch { throw .timeout }
    }
}
