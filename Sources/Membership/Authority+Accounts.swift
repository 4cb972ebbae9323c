import Addressing
package import Sodium
package import Timing

/// Who has a service account's token, by the cluster's word: what its review and its pod say.
package struct ReviewedPod: Equatable, Sendable {
    package let pod: LeasedPod
    /// Of the pod's label, as `GROUP.NAMESPACE`.
    package let groups: [String]

    package init(pod: LeasedPod, groups: [String] = []) {
        self.pod = pod
        self.groups = groups
    }
}

/// What is to be done about a name or address that another identity key holds.
package enum Claim: Equatable, Sendable {
    case free
    /// The holder's lease is void: it was this pod before, or its pod is gone.
    case void(Lease)
    /// Whether it is, depends on whether the pod that holds it is gone.
    case ask(LeasedPod)
}

extension Authority {
    /// Checks that the one who asks has the identity key, before anybody is bothered with its token.
    package func checkProof(
        _ request: AccountRequest, _ purpose: Proof.Purpose, signature: [UInt8], nonce: Bytes32, pin: Bytes32
    ) throws(Refusal) {
        guard Ed25519.verify(signature, of: request.proof(purpose, nonce: nonce, pin: pin), by: request.identityKey)
        else { throw .invalidProof }
    }

    /// Decides a pod's join, except whether name and addresses are free (`claim`).
    ///
    /// A pod's addresses are its node's to give: none outside the block that is leased to the node of the token.
    ///
    /// - Parameter nodes: the leases of all nodes.
    package func admit(
        _ request: AccountRequest, of pod: ReviewedPod, nodes: [NodeLease], now: WallTime
    ) throws(Refusal) -> Admission {
        let addresses = request.addresses
        guard !addresses.isEmpty else { throw .noAddress }
        guard addresses.count <= Credential.addressLimit, Set(addresses).count == addresses.count else {
            throw .tooManyAddresses
        }
        let lease = nodes.first { $0.name == pod.pod.node && $0.isLive(at: now) }
        guard let lease, let block = BlockPlan(ranges: ranges)?.block(lease.number) else {
            throw .noNodeBlock(pod.pod.node)
        }
        for address in addresses where !block.contains(address) || ResolverAddress.isOne(address) {
            throw .outsideNodeBlock(address, node: pod.pod.node)
        }
        return Admission(name: pod.pod.identity.agentName, addresses: addresses, usesToken: false)
    }

    /// Decides about one holder of the pod's name or of an address that it asks for.
    ///
    /// A pod takes over what it held itself, also under another key and as another object of its name: the review has shown
    /// that its uid is the present one, and the cluster has one pod of a name at a time.
    ///
    /// - Parameters:
    ///   - gone: uids of pods that are known to be gone.
    ///   - alive: uids of pods that are known not to be.
    package static func claim(
        _ holder: Lease?, for request: AccountRequest, of pod: ReviewedPod, gone: Set<String>, alive: Set<String>,
        taken: Refusal, now: WallTime
    ) throws(Refusal) -> Claim {
        guard let holder, holder.identityKey != request.identityKey else { return .free }
        guard holder.isLive(at: now) else { return .void(holder) }
        guard let held = holder.pod else { throw taken }
        if held.identity.isSamePod(as: pod.pod.identity) || gone.contains(held.uid) { return .void(holder) }
        guard held.identity.cluster == pod.pod.identity.cluster, !alive.contains(held.uid) else { throw taken }
        return .ask(held)
    }

    /// The block of a node whose name is proven: the one that it has, under whichever key, else the lowest that nobody has.
    ///
    /// A key that has a block under another name is refused: two nodes made from one disk would take it from each other.
    package static func chooseProven(
        for request: BlockRequest, of leases: [NodeLease], in plan: BlockPlan, now: WallTime
    ) throws(Refusal) -> NodeBlock {
        let live = leases.filter { $0.isLive(at: now) }
        if let other = live.first(where: { $0.id == request.id && $0.name != request.name }) {
            throw .nodeNameTaken(other.name)
        }
        if let mine = live.first(where: { $0.name == request.name }), let block = plan.block(mine.number) {
            return block
        }
        return try choose(for: request, of: live, in: plan, now: now)
    }
}

extension PodIdentity {
    /// Whether it is the pod of that name, whatever its service account is now.
    func isSamePod(as other: PodIdentity) -> Bool {
        cluster == other.cluster && namespace == other.namespace && pod == other.pod
    }
}
