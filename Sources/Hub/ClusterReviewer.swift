package import Kubernetes
package import Logging
package import Membership
import Sodium
import Synchronization
package import Timing

/// Reviews tokens by a cluster's API server (TokenReview), and asks it about pods.
///
/// Fails closed: what the server does not say is not assumed, and while it can't be asked nobody new comes in.
package final class ClusterReviewer: PodReviewer {
    private let connect: @Sendable () throws(KubernetesError) -> KubernetesClient
    private let client: Mutex<KubernetesClient>
    private let cluster: String
    private let audience: String
    private let queue: ReviewQueue
    private let refused = Mutex(RefusedTokens<Bytes32>())
    private let logger: Logger
    private let now: @Sendable () -> WallTime

    /// - Parameter connect: makes a client from what the pod has mounted; called again when the server can't be reached, as
    ///   its certificate's authority may have been replaced.
    package init(
        cluster: String, audience: String, bounds: ReviewQueue.Bounds = .init(), logger: Logger,
        now: @escaping @Sendable () -> WallTime = { .now() },
        connect: @escaping @Sendable () throws(KubernetesError) -> KubernetesClient
    ) throws(KubernetesError) {
        self.connect = connect
        client = Mutex(try connect())
        self.cluster = cluster
        self.audience = audience
        queue = ReviewQueue(bounds)
        self.logger = logger
        self.now = now
    }

    package func review(_ token: [UInt8]) async throws(ReviewError) -> ReviewedPod {
        if let fault = ServiceAccountToken.fault(token, audience: audience, now: now()) {
            throw .refused(.wrongAccount(fault))
        }
        let hash = ServiceAccountToken.hash(token)
        if let why = refused.withLock({ $0.reason(hash, now: .now()) }) { throw .refused(.wrongAccount(why)) }
        return try await queue.run { () async throws(ReviewError) -> ReviewedPod in
            let account: ServiceAccountPod
            let verdict = try await ask { (client) async throws(KubernetesError) in
                try await client.review(String(decoding: token, as: UTF8.self), audience: audience)
            }
            switch verdict {
            case .pod(let pod): account = pod
            case .refused(let why):
                refused.withLock { $0.add(hash, why, now: .now()) }
                throw .refused(.wrongAccount(why))
            }
            // Not from the token, though newer clusters have the node in it: only the pod has its labels, and a pod of
            // that name with another uid, or none, says that the token has outlived its own.
            let facts = try await ask { (client) async throws(KubernetesError) in
                try await client.pod(account.pod, in: account.namespace)
            }
            return try reviewed(account, facts)
        }
    }

    package func isGone(_ pod: LeasedPod) async throws(ReviewError) -> Bool {
        // Of another cluster nothing is known here.
        guard pod.identity.cluster == cluster else { return false }
        return try await queue.run { () async throws(ReviewError) -> Bool in
            let facts = try await ask { (client) async throws(KubernetesError) in
                try await client.pod(pod.identity.pod, in: pod.identity.namespace)
            }
            return facts.map { $0.uid != pod.uid || $0.hasEnded } ?? true
        }
    }

    private func reviewed(_ account: ServiceAccountPod, _ facts: PodFacts?) throws(ReviewError) -> ReviewedPod {
        let name = "\(account.namespace)/\(account.pod)"
        guard let facts, facts.uid == account.uid else { throw .refused(.wrongAccount("its pod is gone")) }
        guard !facts.hasEnded else { throw .refused(.wrongAccount("its pod has ended")) }
        guard facts.serviceAccount == account.serviceAccount else {
            throw .refused(.wrongAccount("pod \(name.prefix(320)) has another service account"))
        }
        guard let node = facts.node else { throw .refused(.wrongAccount("its pod runs on no node")) }
        guard account.node == nil || account.node == node else {
            throw .refused(.wrongAccount("token and pod do not name the same node"))
        }
        guard
            let identity = PodIdentity(
                cluster: cluster, namespace: account.namespace, serviceAccount: account.serviceAccount,
                pod: account.pod),
            account.uid.utf8.count <= 64, AgentName.isValid(node)
        else { throw .refused(.unusablePodName("pod \(name.prefix(320)) on node \(node.prefix(253))")) }
        let label = facts.labels[PodGroups.label]
        let groups = PodGroups.list(label, namespace: account.namespace)
        if groups == nil {
            // Its groups only make it easier to find: that is no reason to keep it out.
            logger.warning("pod \(name): label \(PodGroups.label) names no groups, so that it is in none")
        }
        return ReviewedPod(
            pod: LeasedPod(identity: identity, uid: account.uid, node: node), groups: groups ?? [])
    }

    private func ask<Value: Sendable>(
        _ question: (KubernetesClient) async throws(KubernetesError) -> Value
    ) async throws(ReviewError) -> Value {
        do throws(KubernetesError) { return try await question(client.withLock { $0 }) } catch {
            if case .unreachable = error, let fresh = try? connect() { client.withLock { $0 = fresh } }
            logger.error("a service account's token can't be reviewed: \(error)")
            throw .later(TryLater(seconds: 5, reason: "the hub can't ask the cluster's API server; see the hub's log"))
        }
    }
}
