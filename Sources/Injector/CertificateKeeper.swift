package import Logging
package import Timing

/// Keeps the certificates turning: loads them, makes the next ones in time, and stores, publishes and shows them in that
/// order. Replicas share a store: the slower one of two takes what the faster one has stored.
package struct CertificateKeeper: Sendable {
    /// How often the store is looked at, for what another replica has done.
    static let pollInterval: Int64 = 15
    private static let conflictLimit = 8

    private let store: any CertificateStore
    private let policy: CertificatePolicy
    private let identity: ServingIdentity
    private let logger: Logger
    private let now: @Sendable () -> WallTime

    package init(
        store: any CertificateStore, policy: CertificatePolicy, identity: ServingIdentity, logger: Logger,
        now: @escaping @Sendable () -> WallTime = { .now() }
    ) {
        self.store = store
        self.policy = policy
        self.identity = identity
        self.logger = logger
        self.now = now
    }

    /// One look at the store, with all that follows from it.
    ///
    /// - Returns: when the next is needed at the latest.
    @discardableResult
    package func turn() async throws(InjectorError) -> WallTime {
        var ring = try await advance { ring, time throws(InjectorError) in try ring.turned(policy, now: time) }
        try await store.publish(ring.bundle)
        if ring.next != nil, ring.nextPublished == nil {
            ring = try await advance { ring, time in
                var ring = ring
                if ring.next != nil, ring.nextPublished == nil { ring.nextPublished = time }
                return ring
            }
            logger.info("certificate: a new authority is published; it signs in \(policy.overlap) s")
        }
        let changes = identity.life.changes
        try identity.show(ring.leaf, authorityEnd: ring.authority.notAfter)
        if identity.life.changes != changes { logger.info("certificate: a new one is shown") }
        return ring.deadline(policy)
    }

    /// The stored ring after `change`, stored again if that changed it.
    private func advance(
        _ change: (CertificateRing, WallTime) throws(InjectorError) -> CertificateRing
    ) async throws(InjectorError) -> CertificateRing {
        for _ in 0..<Self.conflictLimit {
            let stored = try await store.load()
            let present = try stored.flatMap { stored throws(InjectorError) in
                try CertificateRing(files: stored.files)
            }
            let time = now()
            let base = if let present { present } else { try CertificateRing(policy: policy, now: time) }
            let ring = try change(base, time)
            if ring == present { return ring }
            if try await store.save(ring.files, over: stored?.version) { return ring }
        }
        throw .store("certificates: others change them all the time")
    }

    /// Turns for ever; a store that fails is tried again, while what is shown stays. Returns when the task is cancelled.
    package func run() async {
        let (wakes, waking) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        await withDiscardingTaskGroup { group in
            group.addTask { await store.changes { waking.yield() } }
            var failures: Int64 = 0
            waking.yield()
            for await _ in wakes {
                var pause = Self.pollInterval
                do {
                    let deadline = try await turn()
                    pause = max(1, min(pause, deadline.seconds - now().seconds))
                    failures = 0
                } catch {
                    if Task.isCancelled { break }
                    failures += 1
                    pause = min(Self.pollInterval, 1 << min(failures, 4))
                    logger.error("\(error)")
                }
                let nanoseconds = UInt64(pause) * 1_000_000_000
                group.addTask { if (try? await Task.sleep(nanoseconds: nanoseconds)) != nil { waking.yield() } }
            }
            group.cancelAll()
        }
    }
}

extension GivenCertificate {
    /// Shows the certificate, and each that takes its place. Returns when the task is cancelled.
    package func run(_ identity: ServingIdentity, logger: Logger) async {
        while !Task.isCancelled {
            do {
                let changes = identity.life.changes
                try identity.show(load(), authorityEnd: nil)
                if identity.life.changes != changes { logger.info("certificate: a new one is shown") }
            } catch { logger.error("\(error)") }
            try? await Task.sleep(nanoseconds: 5_000_000_000)
        }
    }
}
