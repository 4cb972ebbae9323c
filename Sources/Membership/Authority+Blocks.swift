package import Sodium
package import Timing

extension Authority {
    /// Decides whether a node may have a block: with a node's token, or because it has one already and proves its key.
    ///
    /// - Parameters:
    ///   - token: what is kept under the request's token hash; nil when there is nothing.
    ///   - current: the requester's own lease, if it has one.
    /// - Returns: whether a use of the token is spent.
    package func admit(
        _ request: BlockRequest, signature: [UInt8], nonce: Bytes32, pin: Bytes32, token: TokenGrant?,
        current: NodeLease?, now: WallTime
    ) throws(Refusal) -> Bool {
        guard Ed25519.verify(signature, of: request.proof(nonce: nonce, pin: pin), by: request.identityKey) else {
            throw .invalidProof
        }
        guard AgentName.isValid(request.name) else { throw .invalidName(request.name) }
        if let current, current.identityKey == request.identityKey, current.name == request.name,
            current.isLive(at: now)
        {
            return false
        }
        guard let token, constantTimeEqual(token.hash.bytes.span, request.tokenHash.bytes.span) else {
            throw .wrongToken
        }
        guard token.kind == .node else { throw .wrongKind(token.kind) }
        guard now < token.expires else { throw .expiredToken }
        guard token.pattern.matches(request.name) else { throw .nameNotAllowed(request.name) }
        guard token.usesLeft > 0 else { throw .usedUpToken }
        return true
    }

    /// The block of a node: the one that it has, else the lowest that nobody has.
    ///
    /// - Parameter leases: those of all nodes, the requester's included.
    package static func choose(
        for request: BlockRequest, of leases: [NodeLease], in plan: BlockPlan, now: WallTime
    ) throws(Refusal) -> NodeBlock {
        let live = leases.filter { $0.isLive(at: now) }
        guard !live.contains(where: { $0.name == request.name && $0.identityKey != request.identityKey }) else {
            throw .nodeNameTaken(request.name)
        }
        if let mine = live.first(where: { $0.id == request.id }), let block = plan.block(mine.number) { return block }
        let taken = Set(live.map(\.number))
        guard plan.last > 0 else { throw .noBlockLeft }
        for number in 1...plan.last where !taken.contains(number) {
            if let block = plan.block(number) { return block }
        }
        throw .noBlockLeft
    }
}
