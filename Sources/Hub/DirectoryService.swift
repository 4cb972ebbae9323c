import Addressing
package import Directory
package import Logging
package import Membership
package import Sodium
package import Timing

/// The directory's role: keeps records, answers lookups, passes signals on. It holds the authority's public key only, and
/// nobody believes it: it can withhold, not forge.
package actor DirectoryService {
    /// How many agents one connection hears about.
    static let subscriptionLimit = 4096

    private let verifier: RecordVerifier
    private let pin: Bytes32
    private let records: RecordBook
    private let logger: Logger
    private let metrics: HubMetrics
    private let now: @Sendable () -> WallTime
    /// The store's before anybody was served: `run` tells of all that changes after it.
    private let revision: Int64

    private var members: [AgentID: Member] = [:]
    /// Who hears about an agent's newer records: connection numbers and their outboxes.
    private var watchers: [AgentID: [Int: Outbox]] = [:]

    private struct Member {
        let connection: Int
        let outbox: Outbox
    }

    /// What the directory knows of one connection. The connection owns it.
    package struct Session: Sendable {
        package let connection: Int
        package let nonce: Bytes32
        package let outbox: Outbox
        package fileprivate(set) var credential: Credential?
        fileprivate var watched: Set<AgentID> = []
        /// The announcement that was published last on this connection.
        fileprivate var published: UInt64?

        package init(connection: Int, nonce: Bytes32, outbox: Outbox) {
            self.connection = connection
            self.nonce = nonce
            self.outbox = outbox
        }
    }

    package init(
        verifier: RecordVerifier, pin: Bytes32, store: any Store, logger: Logger,
        metrics: HubMetrics = HubMetrics(), now: @escaping @Sendable () -> WallTime
    ) async throws(StoreError) {
        self.verifier = verifier
        self.pin = pin
        let records = RecordBook(store: store)
        self.records = records
        self.logger = logger
        self.metrics = metrics
        self.now = now
        revision = try await records.currentRevision()
    }

    package var connectedAgents: Int { members.count }

    /// Tells those who asked about changed records, of this process and of others on the same store, until cancelled.
    package func run() async throws(StoreError) {
        var revision = revision
        while !Task.isCancelled {
            do {
                for try await change in records.changes(after: revision) {
                    revision = change.revision
                    guard let stored = change.stored, let outboxes = watchers[change.id] else { continue }
                    for outbox in outboxes.values { outbox.push(.update(stored.record)) }
                }
            } catch StoreError.compacted {
                // Too far behind to know what changed: tell everything again.
                revision = try await records.currentRevision()
                for (id, outboxes) in watchers {
                    guard let stored = try await records.get(id) else { continue }
                    for outbox in outboxes.values { outbox.push(.update(stored.record)) }
                }
            } catch let error as StoreError { throw error } catch { return }
        }
    }

    func recordCount() async throws(StoreError) -> Int { try await records.count() }

    package func sweep() async throws(StoreError) { try await records.sweep(now: now()) }

    /// Takes a connection's message in; false for what is none of the directory's. Answers go to the session's outbox.
    package func handle(_ message: Message, _ session: inout Session) async throws(StoreError) -> Bool {
        switch message {
        case .authenticate(let request, let text, let signature):
            session.outbox.push(authenticate(request, text, signature, &session))
        case .publish(let request, let text):
            guard let credential = member(session, request) else { return true }
            let answer = try await publish(request, text, credential)
            switch answer {
            case .published(_, let sequence):
                session.published = sequence
                metrics.count(.publications, "stored")
            case .stale: metrics.count(.publications, "stale")
            default: metrics.count(.publications, "refused")
            }
            session.outbox.push(answer)
        case .withdraw(let request):
            guard let credential = member(session, request) else { return true }
            // One that came late must not take away what the agent has published since, on another connection.
            if let published = session.published, try await records.get(credential.id)?.sequence == published {
                try await records.remove(credential.id)
            }
            session.published = nil
            metrics.count(.publications, "withdrawn")
            session.outbox.push(.withdrawn(request: request))
        case .lookup(let request, let key):
            guard member(session, request) != nil else { return true }
            try await lookup(request, key, &session)
        case .members(let request, let group):
            guard member(session, request) != nil else { return true }
            let ids = try await records.members(of: group, limit: Message.memberLimit, now: now())
            session.outbox.push(.memberList(request: request, ids))
        case .forget(let id):
            session.watched.remove(id)
            unwatch(id, session.connection)
        case .signal(let peer, let payload):
            guard let credential = member(session, 0) else { return true }
            let isDelivered =
                members[peer].map { $0.outbox.pushSignal(.signal(peer: credential.id, payload: payload)) } ?? false
            metrics.count(.signals, isDelivered ? "delivered" : "undeliverable")
            if !isDelivered { session.outbox.push(.undeliverable(peer)) }
        default: return false
        }
        return true
    }

    /// The connection has ended.
    package func remove(_ session: Session) {
        for id in session.watched { unwatch(id, session.connection) }
        if let id = session.credential?.id, members[id]?.connection == session.connection { members[id] = nil }
    }

    // MARK: Private parts

    /// The session's credential while it is valid; an error goes out otherwise.
    private func member(_ session: Session, _ request: UInt32) -> Credential? {
        if let credential = session.credential, now().seconds < credential.expires.seconds + Credential.leeway {
            return credential
        }
        session.outbox.push(
            .error(request: request, code: .notAuthenticated, text: "authenticate with a live credential first"))
        return nil
    }

    private func authenticate(
        _ request: UInt32, _ text: String, _ signature: [UInt8], _ session: inout Session
    ) -> Message {
        let credential: Credential
        do {
            credential = try Credential(
                verifying: text, mesh: verifier.mesh, authorityKey: verifier.authorityKey, now: now())
        } catch { return .error(request: request, code: .invalidRecord, text: error.description) }
        let proof = Proof.message(
            .authenticate, nonce: session.nonce, pin: pin, request: Blake2b.hash(Array(text.utf8)))
        guard Ed25519.verify(signature, of: proof, by: credential.identityKey) else {
            return .error(request: request, code: .invalidProof, text: Refusal.invalidProof.description)
        }
        // One connection, one agent: another identity needs another connection.
        if let before = session.credential, before.id != credential.id {
            return .error(request: request, code: .invalidProof, text: "this connection is another agent's")
        }
        if let other = members[credential.id], other.connection != session.connection {
            other.outbox.push(.error(request: 0, code: .replaced, text: "this agent has connected again"))
            other.outbox.finish()
        }
        session.credential = credential
        members[credential.id] = Member(connection: session.connection, outbox: session.outbox)
        return .authenticated(request: request)
    }

    private func publish(
        _ request: UInt32, _ text: String, _ credential: Credential
    ) async throws(StoreError) -> Message {
        let announcement: Announcement
        do {
            announcement = try Announcement(verifying: text, identityKey: credential.identityKey, now: now())
        } catch { return .error(request: request, code: .invalidRecord, text: error.description) }
        switch try await records.put(credential, announcement, now: now()) {
        case .stored(let conflicts):
            metrics.countConflicts(conflicts.count)
            for conflict in conflicts {
                logger.warning("two live credentials for \(conflict): the newer one is shown")
            }
            return .published(request: request, sequence: announcement.sequence)
        case .stale(let sequence): return .stale(request: request, sequence: sequence)
        }
    }

    private func lookup(
        _ request: UInt32, _ key: Message.LookupKey, _ session: inout Session
    ) async throws(StoreError) {
        guard let stored = try await records.find(key, now: now()) else {
            metrics.count(.lookups, "not-found")
            return session.outbox.push(.notFound(request: request))
        }
        metrics.count(.lookups, "found")
        if session.watched.count < Self.subscriptionLimit, session.watched.insert(stored.id).inserted {
            watchers[stored.id, default: [:]][session.connection] = session.outbox
            // A newer record may have been published between reading and watching.
            if let newer = try await records.get(stored.id), newer.sequence > stored.sequence {
                return session.outbox.push(.found(request: request, newer.record))
            }
        }
        session.outbox.push(.found(request: request, stored.record))
    }

    private func unwatch(_ id: AgentID, _ connection: Int) {
        watchers[id]?[connection] = nil
        if watchers[id]?.isEmpty == true { watchers[id] = nil }
    }
}
