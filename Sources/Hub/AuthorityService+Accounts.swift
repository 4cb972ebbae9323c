import Addressing
import Directory
import Logging
import Membership
import Sodium
import Timing

/// Joins and leases by service account.
extension AuthorityService {
    /// How often a decision is begun again because a name or address is held by a pod that has to be asked about.
    private static let questionLimit = 8

    /// Takes a pod in, or renews its credential: both need a token of the pod as it is now, which the kubelet renews for as
    /// long as the pod runs, and the API server accepts for as long as pod and service account are there.
    func join(_ proof: Message.AccountProof, nonce: Bytes32) async throws -> Credential {
        guard let accounts else { throw Refusal.accountsNotServed }
        let request = AccountRequest(
            identityKey: proof.identityKey, addresses: proof.addresses, token: proof.token)
        try authority.checkProof(request, .accountJoin, signature: proof.signature, nonce: nonce, pin: pin)
        let pod = try await reviewed(proof.token, accounts)
        var (gone, alive): (Set<String>, Set<String>) = ([], [])
        for _ in 0..<Self.questionLimit {
            // The cluster is asked outside of the gate, which others wait at.
            let (credential, question) = try await decide {
                try await self.attempt(request, pod, gone: gone, alive: alive)
            }
            if let credential { return credential }
            guard let question else { break }
            if try await unwrapped({ () async throws(ReviewError) in try await accounts.reviewer.isGone(question) }) {
                gone.insert(question.uid)
            } else {
                alive.insert(question.uid)
            }
        }
        throw TryLater(seconds: 2, reason: "what the pod asks for changes hands all the time")
    }

    /// Decides with what is known; the pod to ask about where that is not enough.
    private func attempt(
        _ request: AccountRequest, _ reviewed: ReviewedPod, gone: Set<String>, alive: Set<String>
    ) async throws -> (Credential?, question: LeasedPod?) {
        let now = now()
        let name = reviewed.pod.identity.agentName
        let claim: (Lease?, Refusal) throws(Refusal) -> Claim = { (holder, taken) throws(Refusal) in
            try Authority.claim(holder, for: request, of: reviewed, gone: gone, alive: alive, taken: taken, now: now)
        }
        // First of all, and also when the pod then gets nothing: what it was before is over. Two pods that have exchanged
        // their addresses, as a node that starts again may give them out, would wait for each other else.
        switch try claim(try await leases.holder(ofName: name), .nameTaken(name)) {
        case .free: break
        case .void(let lease): try await revoke(lease, for: reviewed)
        case .ask(let pod): return (nil, pod)
        }
        let admission: Authority.Admission
        do {
            admission = try authority.admit(request, of: reviewed, nodes: try await nodes.list(), now: now)
        } catch Refusal.noNodeBlock(let node) {
            // Its agent leases one when it starts.
            throw TryLater(seconds: 5, reason: Refusal.noNodeBlock(node).description)
        }
        for address in admission.addresses {
            let step: Claim
            do {
                step = try claim(try await leases.holder(of: address), .addressTaken(address))
            } catch Refusal.addressTaken {
                // The node's plugin has given it to this pod, so that its holder is about to lose it.
                throw TryLater(seconds: 5, reason: Refusal.addressTaken(address).description)
            }
            switch step {
            case .free: break
            case .void(let lease): try await revoke(lease, for: reviewed)
            case .ask(let pod): return (nil, pod)
            }
        }
        let credential: Credential
        do {
            credential = try await issue(
                name: name, addresses: admission.addresses, groups: reviewed.groups.compactMap { GroupName($0) },
                key: request.identityKey, tokenHash: .zero, pod: reviewed.pod, now: now)
        } catch MembershipError.oversized { throw Refusal.unusablePodName(Self.title(reviewed.pod.identity)) }
        logger.info(
            "joined: \(name) \(credential.addresses) as \(credential.id), by service account on \(reviewed.pod.node)")
        return (credential, nil)
    }

    private static func title(_ identity: PodIdentity) -> String {
        "pod \(identity.namespace)/\(identity.pod) with service account \(identity.serviceAccount)"
    }

    /// Ends a lease whose pod is gone, or is the one that asks: nobody is led to it any more, and it can't renew.
    private func revoke(_ lease: Lease, for reviewed: ReviewedPod) async throws {
        try await leases.remove(lease)
        try await records.remove(lease.id)
        let isSame = lease.pod?.uid == reviewed.pod.uid
        let text = "revoked: \(lease.name) \(lease.addresses) of \(lease.id)"
        if isSame {
            // After a node's restart the pod's memory is lost, and its key with it; any other time it is worth a look.
            logger.warning("\(text): the same pod comes with another identity key")
        } else {
            logger.info("\(text): its pod is gone")
        }
    }

    /// Leases a node its block: to a pod of the nodes' service account, under the name of the node that it runs on. What the
    /// node had, it has again also under another key, as a node's memory may be lost with its restart.
    func lease(_ proof: Message.AccountProof, nonce: Bytes32) async throws -> (NodeBlock, WallTime) {
        guard let accounts else { throw Refusal.accountsNotServed }
        let asked = AccountRequest(identityKey: proof.identityKey, addresses: [], token: proof.token)
        try authority.checkProof(asked, .accountLease, signature: proof.signature, nonce: nonce, pin: pin)
        let pod = try await reviewed(proof.token, accounts).pod
        let account = "\(pod.identity.namespace):\(pod.identity.serviceAccount)"
        guard accounts.nodeAccounts.contains(account) else { throw Refusal.notNodeAccount(account) }
        guard let plan = BlockPlan(ranges: authority.ranges) else { throw Refusal.noBlockLeft }
        let request = BlockRequest(identityKey: asked.identityKey, name: pod.node, tokenHash: .zero)
        return try await decide { () async throws -> (NodeBlock, WallTime) in
            let now = self.now()
            let turn = try await nodes.currentTurn()
            let all = try await nodes.list()
            let block = try Authority.chooseProven(for: request, of: all, in: plan, now: now)
            let expires = WallTime(seconds: now.seconds + NodeLease.lifetime)
            try await nodes.put(
                NodeLease(identityKey: request.identityKey, name: pod.node, number: block.number, expires: expires),
                turn: turn)
            for old in all where old.name == pod.node && old.id != request.id { try await nodes.remove(old) }
            logger.info("leased: block \(block.number) to node \(pod.node) as \(request.id), by service account")
            return (block, expires)
        }
    }

    private func reviewed(_ token: [UInt8], _ accounts: AccountOptions) async throws -> ReviewedPod {
        try await unwrapped { () async throws(ReviewError) in try await accounts.reviewer.review(token) }
    }

    private func unwrapped<Value>(_ body: () async throws(ReviewError) -> Value) async throws -> Value {
        do throws(ReviewError) { return try await body() } catch {
            switch error {
            case .refused(let refusal): throw refusal
            case .later(let later): throw later
            }
        }
    }
}
