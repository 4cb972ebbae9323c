package import Addressing
package import Logging
package import Membership
package import NIOCore
package import Sodium
import Synchronization
package import Timing

/// An agent's lasting connection to its directory: publishes, looks up, signals; connects again by itself.
///
/// `run` holds the connection and must run for anything else to work. All records are verified here, so that a lying
/// directory is noticed as an error and never as a record. Safe from any thread.
package final class DirectoryClient: Sendable {
    /// How many agents' updates are kept apart by number; one more pushes out any other.
    package static let subscriptionLimit = 4096
    package static let answerTimeout = TimeAmount.seconds(10)

    /// Updates, signals and the connection's state, for one consumer. The newest 1,024 are kept for a slow one.
    package let events: AsyncStream<DirectoryEvent>
    package let counters = FrameCounters()

    let identity: Identity
    let pin: Bytes32
    let verifier: RecordVerifier
    let logger: Logger
    let now: @Sendable () -> WallTime
    let pending = PendingAnswers()
    let state: Mutex<State>
    private let eventSink: AsyncStream<DirectoryEvent>.Continuation
    private let address: HubAddress
    private let proxy: HTTPProxy?
    private let group: any EventLoopGroup

    struct State {
        var credential: String
        var announcement: Announcement?
        /// The highest sequence number seen of each agent that was looked up.
        var known: [AgentID: UInt64] = [:]
        var session: Session?
    }

    /// A connection that the directory has accepted.
    struct Session: Sendable {
        let writer: NIOAsyncChannelOutboundWriter<Message>
        let channel: any Channel
        let nonce: Bytes32
    }

    package init(
        address: HubAddress, pin: Bytes32, verifier: RecordVerifier, identity: Identity, credential: Credential,
        logger: Logger, proxy: HTTPProxy? = nil, group: any EventLoopGroup = HubLink.group,
        now: @escaping @Sendable () -> WallTime = { WallTime.now() }
    ) {
        (events, eventSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1024))
        state = Mutex(State(credential: credential.text))
        self.address = address
        self.pin = pin
        self.verifier = verifier
        self.identity = identity
        self.logger = logger
        self.proxy = proxy
        self.group = group
        self.now = now
    }

    /// Connects, and again whenever the connection ends, until the task is cancelled.
    package func run() async {
        var backoff = Backoff()
        var random = SecureRandom()
        while !Task.isCancelled {
            let failure: DirectoryError
            do {
                let link = try HubLink(to: address, pin: pin, proxy: proxy, group: group, counters: counters)
                failure = await converse(on: try await link.connect(), accepted: { backoff.reset() })
            } catch { failure = error }
            state.withLock { $0.session = nil }
            pending.failAll(.disconnected)
            if Task.isCancelled { break }
            // Another process with this identity is connected: taking turns would serve neither.
            let delay = failure.code == .replaced ? Backoff.limit : backoff.next(using: &random)
            logger.info("directory \(address): \(failure); next attempt in \(Int(delay.milliseconds)) ms")
            emit(.disconnected(failure))
            do { try await Task.sleep(nanoseconds: delay.nanoseconds) } catch { break }
        }
        eventSink.finish()
    }

    package var isConnected: Bool { state.withLock { $0.session != nil } }

    func emit(_ event: DirectoryEvent) { eventSink.yield(event) }
}

// MARK: Questions

extension DirectoryClient {
    /// The record of the agent that holds `key`, verified; nil when the directory knows none. Its newer records come as
    /// events from now on.
    package func lookup(_ key: Message.LookupKey) async throws(DirectoryError) -> VerifiedRecord? {
        switch try await ask({ .lookup(request: $0, key) }) {
        case .notFound: return nil
        case .found(_, let record):
            let verified: VerifiedRecord
            do { verified = try verifier.verify(record, now: now()) } catch { throw .invalidRecord(error) }
            let matches =
                switch key {
                case .address(let address): verified.credential.addresses.contains(address)
                case .name(let name): verified.credential.name == name
                case .id(let id): verified.id == id
                }
            guard matches else { throw .protocolViolation("the record of another agent than \(key)") }
            // An older record than one seen before is a directory's mistake or lie.
            let isStale = state.withLock { $0.note(verified, limit: Self.subscriptionLimit) == .older }
            guard !isStale else { throw .protocolViolation("an outdated record of \(key)") }
            return verified
        default: throw .protocolViolation("no answer to lookup")
        }
    }

    /// Records of a group's members, verified, each with the group in its credential; sixteen at most. Empty when the
    /// directory knows none.
    ///
    /// - Throws: also when none of those that it names verifies as a member.
    package func members(of group: GroupName) async throws(DirectoryError) -> [VerifiedRecord] {
        guard case .memberList(_, let ids) = try await ask({ .members(request: $0, group) }) else {
            throw .protocolViolation("no answer to members")
        }
        var records: [VerifiedRecord] = []
        var failure: DirectoryError?
        for id in Set(ids) {
            do throws(DirectoryError) {
                // One that has just left is no fault of the others.
                guard let record = try await lookup(.id(id)) else { continue }
                guard record.credential.groups.contains(group) else {
                    throw .protocolViolation("a record that is not of group \(group)")
                }
                records.append(record)
            } catch { failure = error }
        }
        if records.isEmpty, let failure { throw failure }
        return records
    }

    /// Publishes, and again after each reconnection until another announcement is published.
    ///
    /// Kept even when this throws `.disconnected` or `.timeout`, so that one call is enough.
    package func publish(_ announcement: Announcement) async throws(DirectoryError) {
        state.withLock { $0.announcement = announcement }
        switch try await ask({ .publish(request: $0, announcement: announcement.text) }) {
        case .published: return
        case .stale(_, let known): throw .staleSequence(known: known)
        default: throw .protocolViolation("no answer to publish")
        }
    }

    /// Takes the announcement back, and publishes none on reconnection.
    package func withdraw() async throws(DirectoryError) {
        state.withLock { $0.announcement = nil }
        guard case .withdrawn = try await ask({ .withdraw(request: $0) }) else {
            throw .protocolViolation("no answer to withdraw")
        }
    }

    /// Uses a renewed credential, on this connection at once and on later ones. Publish a new announcement afterwards, so
    /// that those who looked this agent up get the new credential with it.
    package func use(_ credential: Credential) async throws(DirectoryError) {
        let session = state.withLock { state in
            state.credential = credential.text
            return state.session
        }
        guard let session else { return }
        let answer = try await ask {
            self.authentication(request: $0, credential: credential.text, nonce: session.nonce)
        }
        guard case .authenticated = answer else { throw .protocolViolation("no answer to authenticate") }
    }

    /// Hands `payload` to the connection, for the directory to pass on to `peer` if it is connected there.
    package func signal(to peer: AgentID, _ payload: [UInt8]) async throws(DirectoryError) {
        guard payload.count <= Message.signalLimit else { throw .oversizedSignal(payload.count) }
        try await write(.signal(peer: peer, payload: payload))
    }

    /// No further updates about `id`.
    package func forget(_ id: AgentID) async {
        guard state.withLock({ $0.known.removeValue(forKey: id) }) != nil else { return }
        // Without a connection there is nothing to take back.
        try? await write(.forget(id))
    }

    func authentication(request: UInt32, credential: String, nonce: Bytes32) -> Message {
        let proof = Proof.message(.authenticate, nonce: nonce, pin: pin, request: Blake2b.hash(Array(credential.utf8)))
        return .authenticate(request: request, credential: credential, signature: identity.sign(proof))
    }

    private func write(_ message: Message) async throws(DirectoryError) {
        guard let session = state.withLock({ $0.session }) else { throw .disconnected }
        do { try await session.writer.write(message) } catch { throw .disconnected }
    }

    private func ask(_ question: (UInt32) -> Message) async throws(DirectoryError) -> Message {
        guard let session = state.withLock({ $0.session }) else { throw .disconnected }
        let number = pending.nextNumber()
        let message = question(number)
        let pending = pending
        let timeout = session.channel.eventLoop.scheduleTask(in: Self.answerTimeout) {
            pending.resolve(number, .failure(.timeout))
        }
        defer { timeout.cancel() }
        // Waiting begins before the question is written, so that no answer can come first.
        let answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                pending.wait(number, continuation)
                if Task.isCancelled { pending.resolve(number, .failure(.timeout)) }
                session.channel.writeAndFlush(message).whenFailure { _ in
                    pending.resolve(number, .failure(.disconnected))
                }
            }
        } onCancel: {
            pending.resolve(number, .failure(.timeout))
        }
        let result = try answer.get()
        if case .error(_, let code, let text) = result { throw .refused(code, text) }
        return result
    }
}

extension DirectoryClient.State {
    enum Novelty { case newer, same, older }

    /// Keeps the highest sequence number of the record's agent, and says how this one compares.
    mutating func note(_ record: VerifiedRecord, limit: Int) -> Novelty {
        let sequence = record.announcement.sequence
        if let known = known[record.id], sequence <= known { return sequence == known ? .same : .older }
        if known.count >= limit, known[record.id] == nil, let other = known.keys.first { known[other] = nil }
        known[record.id] = sequence
        return .newer
    }
}
