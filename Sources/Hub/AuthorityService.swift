import Addressing
package import Directory
package import Logging
package import Membership
package import Sodium
package import Timing

/// The authority's role: the only part of a hub that has the signing key. Safe from any task.
package final class AuthorityService: Sendable {
    let authority: Authority
    private let info: MeshInfo
    let pin: Bytes32
    /// Nil where pods and nodes don't come in by their service accounts.
    let accounts: AccountOptions?
    private let tokens: TokenBook
    let leases: LeaseBook
    let nodes: NodeBook
    let records: RecordBook
    private let gate = SerialGate()
    let logger: Logger
    private let metrics: HubMetrics
    let now: @Sendable () -> WallTime

    package init(
        authority: Authority, info: MeshInfo, pin: Bytes32, store: any Store, accounts: AccountOptions? = nil,
        logger: Logger, metrics: HubMetrics = HubMetrics(), now: @escaping @Sendable () -> WallTime
    ) {
        self.authority = authority
        self.info = info
        self.pin = pin
        self.accounts = accounts
        records = RecordBook(store: store)
        tokens = TokenBook(store: store)
        leases = LeaseBook(store: store)
        nodes = NodeBook(store: store)
        self.logger = logger
        self.metrics = metrics
        self.now = now
    }

    /// Answers a join, renew, leave or a node's lease, with or without a service account; nil for what is none of the
    /// authority's.
    package func answer(_ message: Message, nonce: Bytes32) async -> Message? {
        switch message {
        case .join(let request, let join):
            await answer(request, "join") { () async throws -> Message in
                .joined(request: request, credential: try await self.join(join, nonce: nonce).text, self.info)
            }
        case .renew(let request, let key, let signature):
            await answer(request, "renew") { () async throws -> Message in
                .joined(request: request, credential: try await self.renew(key, signature, nonce).text, self.info)
            }
        case .leave(let request, let key, let signature):
            await answer(request, "leave") { () async throws -> Message in
                try await self.leave(key, signature, nonce)
                return .left(request: request)
            }
        case .lease(let request, let lease):
            await answer(request, "lease") { () async throws -> Message in
                let (block, expires) = try await self.lease(lease, nonce: nonce)
                return .leased(request: request, block, expires: expires)
            }
        // These take the gate themselves, for the decision only: the cluster is asked before.
        case .accountJoin(let request, let proof):
            await result(request, "join by service account") { () async throws -> Message in
                .joined(request: request, credential: try await self.join(proof, nonce: nonce).text, self.info)
            }
        case .accountLease(let request, let proof):
            await result(request, "lease by service account") { () async throws -> Message in
                let (block, expires) = try await self.lease(proof, nonce: nonce)
                return .leased(request: request, block, expires: expires)
            }
        default: nil
        }
    }

    /// How many agents hold something, and how many blocks nodes have, of how many.
    func usage() async throws(StoreError) -> (leases: Int, blocks: (leased: Int, free: Int)?) {
        let now = now()
        let held = try await leases.list().count { $0.isLive(at: now) }
        guard let plan = BlockPlan(ranges: authority.ranges) else { return (held, nil) }
        let leased = try await nodes.list().count { $0.isLive(at: now) }
        return (held, (leased, max(0, Int(plan.last) - leased)))
    }

    /// Forgets what has expired.
    package func sweep() async throws(StoreError) {
        await gate.enter()
        do {
            try await tokens.sweep(now: now())
            try await leases.sweep(now: now())
            try await nodes.sweep(now: now())
        } catch {
            await gate.leave()
            throw error
        }
        await gate.leave()
    }

    // One decision at a time: what was free when it was checked is free when it is written.
    private func answer(_ request: UInt32, _ what: String, _ body: () async throws -> Message) async -> Message {
        await gate.enter()
        let message = await result(request, what, body)
        await gate.leave()
        return message
    }

    private func result(_ request: UInt32, _ what: String, _ body: () async throws -> Message) async -> Message {
        do {
            let message = try await body()
            metrics.count(what, refusedFor: nil)
            return message
        } catch let refusal as Refusal {
            metrics.count(what, refusedFor: ErrorCode(refusal))
            logger.info("\(what) refused: \(refusal)")
            return .error(request: request, code: ErrorCode(refusal), text: refusal.description)
        } catch let later as TryLater {
            logger.info("\(what) put off: \(later.reason)")
            return .later(request: request, seconds: later.seconds, text: later.reason)
        } catch {
            metrics.count(what, refusedFor: .internal)
            logger.error("\(what) failed: \(error)")
            return .error(request: request, code: .internal, text: "the hub failed: try again, and see its log")
        }
    }

    /// Runs `body` with no other decision beside it.
    func decide<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        await gate.enter()
        do {
            let value = try await body()
            await gate.leave()
            return value
        } catch {
            await gate.leave()
            throw error
        }
    }

    private func join(_ join: Message.Join, nonce: Bytes32) async throws -> Credential {
        let now = now()
        let request = JoinRequest(
            identityKey: join.identityKey, name: join.name, addresses: join.addresses,
            tokenHash: JoinToken.hash(ofSecret: join.secret))
        let token = try await tokens.get(request.tokenHash)
        let current = try await leases.get(request.id)?.lease
        let admission = try authority.admit(
            request, signature: join.signature, nonce: nonce, pin: pin, token: token?.grant, current: current, now: now)
        try await checkFree(admission, for: request.identityKey, now: now)
        if admission.usesToken, let token {
            var grant = token.grant
            grant.usesLeft -= 1
            try await tokens.put(grant, ifRevision: token.revision)
        }
        do {
            let credential = try await issue(
                name: admission.name, addresses: admission.addresses, groups: admission.groups,
                key: request.identityKey, tokenHash: request.tokenHash, now: now)
            logger.info("joined: \(credential.name) \(credential.addresses) as \(credential.id)")
            return credential
        } catch {
            if admission.usesToken, var spent = try await tokens.get(request.tokenHash) {
                spent.grant.usesLeft += 1
                try await tokens.put(spent.grant, ifRevision: spent.revision)
            }
            throw error
        }
    }

    private func lease(_ lease: Message.Lease, nonce: Bytes32) async throws -> (NodeBlock, WallTime) {
        let now = now()
        guard let plan = BlockPlan(ranges: authority.ranges) else { throw Refusal.noBlockLeft }
        let request = BlockRequest(
            identityKey: lease.identityKey, name: lease.name, tokenHash: JoinToken.hash(ofSecret: lease.secret))
        let turn = try await nodes.currentTurn()
        let all = try await nodes.list()
        let token = try await tokens.get(request.tokenHash)
        let spends = try authority.admit(
            request, signature: lease.signature, nonce: nonce, pin: pin, token: token?.grant,
            current: all.first { $0.id == request.id }, now: now)
        let block = try Authority.choose(for: request, of: all, in: plan, now: now)
        let expires = WallTime(seconds: now.seconds + NodeLease.lifetime)
        // A use that is spent for a lease that then can't be written is lost: rather that than one too many.
        if spends, var token {
            token.grant.usesLeft -= 1
            try await tokens.put(token.grant, ifRevision: token.revision)
        }
        try await nodes.put(
            NodeLease(identityKey: request.identityKey, name: request.name, number: block.number, expires: expires),
            turn: turn)
        logger.info("leased: block \(block.number) to node \(request.name) as \(request.id)")
        return (block, expires)
    }

    private func checkFree(
        _ admission: Authority.Admission, for key: Ed25519.PublicKey, now: WallTime
    ) async throws {
        let nameHolder = try await leases.holder(ofName: admission.name)
        var addressHolders: [(IPAddress, Lease)] = []
        for address in admission.addresses {
            if let lease = try await leases.holder(of: address) { addressHolders.append((address, lease)) }
        }
        try Authority.checkFree(
            name: admission.name, nameHolder: nameHolder, addressHolders: addressHolders, for: key, now: now)
    }

    private func renew(_ key: Ed25519.PublicKey, _ signature: [UInt8], _ nonce: Bytes32) async throws -> Credential {
        let lease = try await member(.renew, key, signature, nonce)
        let credential = try await issue(
            name: lease.name, addresses: lease.addresses, groups: lease.groups, key: key, tokenHash: lease.tokenHash,
            pod: lease.pod, expires: try Self.end(of: lease, now: now()), now: now())
        logger.info("renewed: \(credential.name) as \(credential.id)")
        return credential
    }

    private func leave(_ key: Ed25519.PublicKey, _ signature: [UInt8], _ nonce: Bytes32) async throws {
        let lease = try await member(.leave, key, signature, nonce)
        try await leases.remove(lease)
        logger.info("left: \(lease.name) as \(lease.id)")
    }

    private func member(
        _ purpose: Proof.Purpose, _ key: Ed25519.PublicKey, _ signature: [UInt8], _ nonce: Bytes32
    ) async throws -> Lease {
        let current = try await leases.get(AgentID(identityKey: key))?.lease
        return try authority.checkMember(
            purpose, identityKey: key, signature: signature, nonce: nonce, pin: pin, current: current, now: now())
    }

    /// The end of a credential that is renewed by the identity key alone; nil for the usual one.
    ///
    /// A pod's keeps the end that it had. Its key shows that it is the same process, not that the pod still runs, or that its
    /// service account may still join: for more time it brings a token, which the cluster voids with the pod. So a sidecar
    /// that starts again finds its way back while the API server is away, and a stolen key is of use for a day at most.
    private static func end(of lease: Lease, now: WallTime) throws(Refusal) -> WallTime? {
        guard lease.pod != nil else { return nil }
        guard now.seconds < lease.expires.seconds else { throw .notMember }
        return lease.expires
    }

    /// The lease is written before the credential goes out, so that what is signed is held.
    func issue(
        name: String, addresses: [IPAddress], groups: [GroupName], key: Ed25519.PublicKey, tokenHash: Bytes32,
        pod: LeasedPod? = nil, expires: WallTime? = nil, now: WallTime
    ) async throws -> Credential {
        var random = SecureRandom()
        let credential = try authority.issue(
            name: name, addresses: addresses, groups: groups, pod: pod?.identity, identityKey: key, now: now,
            expires: expires, using: &random)
        try await leases.put(
            Lease(
                identityKey: key, name: name, addresses: addresses, groups: groups, expires: credential.expires,
                tokenHash: tokenHash, pod: pod))
        return credential
    }
}
