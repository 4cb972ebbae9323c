package import Directory
package import Logging
import NIOCore
import Sodium
import Synchronization
package import Timing

/// Serves one agent's connection: reads a message, has the right role answer it, reads the next.
///
/// A client that asks too fast is read more slowly; one that proves nothing within half a minute, sends what no client
/// sends, or does not read its answers is let go of.
package struct ConnectionLoop: Sendable {
    /// For each connection, in all and for signals.
    static let requests = TokenBucket.Limit(perSecond: 200, burst: 1000)
    static let signals = TokenBucket.Limit(perSecond: 50, burst: 200)
    static let proofTimeout = TimeAmount.seconds(30)

    let authority: AuthorityService?
    let directory: DirectoryService?
    let roles: Message.Roles
    let logger: Logger
    let now: @Sendable () -> WallTime
    private let numbers = Numbers()

    package init(
        authority: AuthorityService?, directory: DirectoryService?, roles: Message.Roles, logger: Logger,
        now: @escaping @Sendable () -> WallTime
    ) {
        self.authority = authority
        self.directory = directory
        self.roles = roles
        self.logger = logger
        self.now = now
    }

    /// Returns when the connection has ended.
    func run(_ connection: NIOAsyncChannel<Message, Message>) async {
        let channel = connection.channel
        let outbox = Outbox { channel.close(promise: nil) }
        let nonce = Bytes32(Libsodium.randomBytes(32)) ?? .zero
        let proofDeadline = channel.eventLoop.scheduleTask(in: Self.proofTimeout) { channel.close(promise: nil) }
        defer { proofDeadline.cancel() }
        var session = DirectoryService.Session(connection: numbers.next(), nonce: nonce, outbox: outbox)
        do {
            try await connection.executeThenClose { inbound, outbound in
                outbox.push(.hello(nonce: nonce, time: now(), roles: roles))
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for await message in outbox.messages {
                            outbox.didTake()
                            try await outbound.write(message)
                        }
                        // Told to end, after all that was queued.
                        channel.close(promise: nil)
                    }
                    var limits = Limits(now: .now())
                    for try await message in inbound {
                        if let delay = limits.take(message, now: .now()) {
                            try await Task.sleep(nanoseconds: delay.nanoseconds)
                        }
                        guard try await handle(message, &session) else { break }
                        if session.credential != nil { proofDeadline.cancel() }
                    }
                    outbox.finish()
                    try await group.waitForAll()
                }
            }
        } catch let error as FrameError {
            logger.info("connection closed: \(error)")
        } catch let error as StoreError {
            logger.error("connection closed: store: \(error)")
        } catch {
            // Connections end in many ways, none of which is the hub's trouble.
            logger.debug("connection closed: \(error)")
        }
        await directory?.remove(session)
    }

    /// False when the connection must end.
    private func handle(_ message: Message, _ session: inout DirectoryService.Session) async throws -> Bool {
        switch message {
        case .ping(let value): session.outbox.push(.pong(value))
        case .pong: break
        case .join(let request, _), .renew(let request, _, _), .leave(let request, _, _), .lease(let request, _),
            .accountJoin(let request, _), .accountLease(let request, _):
            if let answer = await authority?.answer(message, nonce: session.nonce) {
                session.outbox.push(answer)
            } else {
                session.outbox.push(notServed(request, "authority"))
            }
        case .authenticate(let request, _, _), .publish(let request, _), .lookup(let request, _),
            .withdraw(let request), .members(let request, _):
            guard let directory else {
                session.outbox.push(notServed(request, "directory"))
                return true
            }
            return try await directory.handle(message, &session)
        case .forget, .signal: return try await directory?.handle(message, &session) ?? true
        default:
            logger.info("connection closed: a client that sends type \(String(message.type, radix: 16))")
            return false
        }
        return true
    }

    private func notServed(_ request: UInt32, _ role: String) -> Message {
        .error(request: request, code: .notServed, text: "this hub does not have the role \(role)")
    }

    private struct Limits {
        var requests: TokenBucket
        var signals: TokenBucket

        init(now: MonotonicTime) {
            requests = TokenBucket(full: ConnectionLoop.requests, now: now)
            signals = TokenBucket(full: ConnectionLoop.signals, now: now)
        }

        /// How long to wait before this message is looked at; nil for not at all.
        mutating func take(_ message: Message, now: MonotonicTime) -> Interval? {
            var delay = requests.takeAhead(1, limit: ConnectionLoop.requests, now: now)
            if case .signal = message {
                delay = max(delay, signals.takeAhead(1, limit: ConnectionLoop.signals, now: now))
            }
            return delay == .zero ? nil : delay
        }
    }

    /// Numbers connections, so that the directory can tell them apart.
    private final class Numbers: Sendable {
        private let last = Atomic<Int>(0)
        func next() -> Int { last.add(1, ordering: .relaxed).newValue }
    }
}
