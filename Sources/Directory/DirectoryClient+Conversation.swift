import Addressing
import Logging
import Membership
import NIOCore
import Sodium
import Synchronization
import Timing

// One connection, from hello to its end: authenticate, publish again, ask again for what was looked up before.
extension DirectoryClient {
    fileprivate enum Phase: Equatable {
        case hello
        case authenticating(nonce: Bytes32, hubTime: WallTime)
        case publishing(nonce: Bytes32, hubTime: WallTime)
        case open
    }

    /// The state of one connection, which lives inside its loop.
    private struct Conversation {
        var phase = Phase.hello
        /// Whose subscriptions are still to be made again.
        var resubscriptions: ArraySlice<AgentID> = []
        var lastNumber = PendingAnswers.ownNumbers

        mutating func number() -> UInt32 {
            lastNumber += 1
            return lastNumber
        }

        mutating func resubscribe(_ count: Int) -> [Message] {
            let ids = resubscriptions.prefix(count)
            resubscriptions = resubscriptions.dropFirst(count)
            return ids.map { .lookup(request: number(), .id($0)) }
        }
    }

    /// How many lookups are under way at once when subscriptions are made again.
    private static let resubscriptionWindow = 32

    /// Returns why the connection ended; `accepted` is called once the directory has accepted the credential.
    func converse(on connection: HubLink.Connection, accepted: () -> Void) async -> DirectoryError {
        do {
            return try await connection.executeThenClose { inbound, outbound in
                var conversation = Conversation()
                for try await message in inbound {
                    let wasAuthenticating = conversation.phase.isAuthenticating
                    let answers = try receive(message, in: &conversation) {
                        Session(writer: outbound, channel: connection.channel, nonce: $0)
                    }
                    if wasAuthenticating, !conversation.phase.isAuthenticating { accepted() }
                    for answer in answers { try await outbound.write(answer) }
                }
                return .disconnected
            }
        } catch let error as DirectoryError { return error } catch let error as FrameError {
            return .protocolViolation(error.description)
        } catch { return .disconnected }
    }

    /// Takes a message in, and returns what to write.
    private func receive(
        _ message: Message, in conversation: inout Conversation, session: (Bytes32) -> Session
    ) throws(DirectoryError) -> [Message] {
        switch (conversation.phase, message) {
        case (.hello, .hello(let nonce, let hubTime, _)):
            conversation.phase = .authenticating(nonce: nonce, hubTime: hubTime)
            let credential = state.withLock { $0.credential }
            return [authentication(request: conversation.number(), credential: credential, nonce: nonce)]
        case (.hello, _): throw .protocolViolation("no hello")
        case (_, .ping(let value)): return [.pong(value)]
        case (_, .error(0, let code, let text)), (.authenticating, .error(_, let code, let text)):
            throw .refused(code, text)
        case (.authenticating(let nonce, let hubTime), .authenticated):
            guard let announcement = state.withLock({ $0.announcement }) else {
                return open(&conversation, session(nonce), hubTime)
            }
            conversation.phase = .publishing(nonce: nonce, hubTime: hubTime)
            return [.publish(request: conversation.number(), announcement: announcement.text)]
        case (.publishing(let nonce, let hubTime), _) where message.answered == conversation.lastNumber:
            switch message {
            case .stale(_, let known): emit(.superseded(known: known))
            // It may have expired meanwhile: the agent makes another one, over this connection.
            case .error(_, _, let text): logger.warning("directory: not published again: \(text)")
            default: break
            }
            return open(&conversation, session(nonce), hubTime)
        default:
            handle(message)
            let isOwn = message.answered.map { $0 >= PendingAnswers.ownNumbers } ?? false
            return isOwn ? conversation.resubscribe(1) : []
        }
    }

    private func open(_ conversation: inout Conversation, _ session: Session, _ hubTime: WallTime) -> [Message] {
        conversation.phase = .open
        conversation.resubscriptions = state.withLock { state in
            state.session = session
            return Array(state.known.keys)[...]
        }
        emit(.connected(hubTime: hubTime))
        return conversation.resubscribe(Self.resubscriptionWindow)
    }

    private func handle(_ message: Message) {
        switch message {
        case .update(let record): update(record)
        case .found(let request, let record) where request >= PendingAnswers.ownNumbers: update(record)
        case .signal(let peer, let payload): emit(.signal(from: peer, payload: payload))
        case .undeliverable(let peer): emit(.undeliverable(peer))
        default: if let request = message.answered { pending.resolve(request, .success(message)) }
        }
    }

    /// Passes on what verifies, is newer, and is about an agent that was looked up.
    private func update(_ record: Record) {
        do {
            let verified = try verifier.verify(record, now: now())
            let isNews = state.withLock { state in
                state.known[verified.id] != nil && state.note(verified, limit: Self.subscriptionLimit) == .newer
            }
            if isNews { emit(.update(verified)) }
        } catch { logger.debug("directory: an update does not verify: \(error)") }
    }
}

extension DirectoryClient.Phase {
    fileprivate var isAuthenticating: Bool {
        switch self {
        case .hello, .authenticating: true
        case .publishing, .open: false
        }
    }
}
