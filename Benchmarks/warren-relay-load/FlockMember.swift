import Addressing
import NIOCore
import Relay
import RelayStream
import Sodium
import Timing

/// One member of a flock: its homes, on streams of one event loop, as a sidecar whose UDP is blocked keeps them. All of it
/// runs on the loop.
final class FlockMember: @unchecked Sendable {
    // Safe: touched on `loop` alone, but for what does not change.
    let loop: any EventLoop
    private var homes: RelayHomes
    private let connectors: [RelayStreamConnector]
    private let source: SocketAddress?
    private let changed: @Sendable (_ home: Int?) -> Void
    private var attempts: [Key: RelayStreamAttempt] = [:]
    private var connections: [Key: RelayStreamConnection] = [:]
    private var random = SecureRandom()
    private var timer: Scheduled<Void>?
    private var timerAt = MonotonicTime.never
    private(set) var opens = 0

    private struct Key: Hashable {
        let relay: Int
        let attempt: UInt32
    }

    /// - Parameters:
    ///   - source: the address to connect from: the members of a flock share a few, as behind NATs.
    ///   - changed: the home that it has now.
    init(
        _ member: (identity: RelayClient.Identity, credential: [UInt8]), relays: [RelayArgument],
        connectors: [RelayStreamConnector], warm: Int, from source: SocketAddress?, on loop: any EventLoop,
        changed: @escaping @Sendable (_ home: Int?) -> Void
    ) {
        self.loop = loop
        self.connectors = connectors
        self.source = source
        self.changed = changed
        var configuration = RelayHomes.Configuration()
        configuration.warm = warm
        // All are to begin at the first, however long a machine takes that has both ends of 5,000 handshakes.
        configuration.grace = .seconds(20)
        configuration.preference = .seconds(20)
        homes = RelayHomes(
            relays.map { .init(id: $0.id, endpoint: $0.udp, transports: [.tls]) }, identity: member.identity,
            credential: member.credential, configuration, now: .now())
    }

    func start() { loop.execute { self.turn() } }

    private func turn() {
        homes.poll(now: .now(), using: &random)
        perform()
    }

    private func perform() {
        for (relay, action) in homes.takeActions() {
            switch action {
            case .sendDatagram: break
            case .sendFrame(let frame, let attempt):
                connections[Key(relay: relay, attempt: attempt)]?.send(frame: frame)
            case .open(_, let attempt, let hello): open(Key(relay: relay, attempt: attempt), hello)
            case .close(let attempt):
                let key = Key(relay: relay, attempt: attempt)
                attempts.removeValue(forKey: key)?.cancel()
                connections.removeValue(forKey: key)?.close()
            }
        }
        for event in homes.takeEvents() { if case .homes(let now) = event { changed(now.first) } }
        schedule()
    }

    private func open(_ key: Key, _ hello: Hello) {
        opens += 1
        let attempt = connectors[key.relay].connect(
            hello, on: loop, from: source,
            receive: { self.received($0, key) },
            closed: {
                self.connections[key] = nil
                self.report(false, key)
            })
        attempts[key] = attempt
        attempt.connection.whenComplete { result in
            self.attempts[key] = nil
            if case .success(let connection) = result { self.connections[key] = connection }
            self.report((try? result.get()) != nil, key)
        }
    }

    private func report(_ isOpen: Bool, _ key: Key) {
        homes.stream(isOpen: isOpen, relay: key.relay, attempt: key.attempt, now: .now(), using: &random)
        perform()
    }

    private func received(_ message: ByteBuffer, _ key: Key) {
        var rest = message
        while let length = rest.readInteger(as: UInt16.self), let frame = rest.readBytes(length: Int(length)) {
            _ = unsafe homes.receive(
                frame: frame.span.bytes, relay: key.relay, attempt: key.attempt, now: .now(), using: &random)
        }
        perform()
    }

    private func schedule() {
        let next = homes.nextTimer
        guard next != timerAt || timer == nil else { return }
        timer?.cancel()
        timerAt = next
        guard next != .never else { return }
        let wait = next.since(.now()).nanoseconds
        timer = loop.scheduleTask(in: .nanoseconds(Int64(clamping: wait))) {
            self.timerAt = .never
            self.timer = nil
            self.turn()
        }
    }
}
