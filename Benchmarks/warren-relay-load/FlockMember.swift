import Addressing
import NIOCore
import Relay
import RelayStream
import Sodium
import Synchronization
import Timing

/// One member of a flock: its homes, on streams of one event loop, as a sidecar whose UDP is blocked keeps them. All of it
/// runs on the loop.
final class FlockMember: @unchecked Sendable {
    // Safe: the variables are touched on `loop` alone.
    private let loop: any EventLoop
    private let changed: @Sendable (_ home: Int?) -> Void
    private var homes: RelayHomes
    private var streams: RelayStreams?
    private var random = SecureRandom()
    private var timer: Scheduled<Void>?
    private var timerAt = MonotonicTime.never
    /// Connections that were begun; any thread.
    let opens = Atomic(0)

    /// - Parameters:
    ///   - source: the address to connect from: the members of a flock share a few, as behind NATs.
    ///   - changed: the home that it has now.
    init(
        _ member: (identity: RelayClient.Identity, credential: [UInt8]), relays: [RelayArgument],
        connectors: [RelayStreamConnector], warm: Int, from source: SocketAddress?, on loop: any EventLoop,
        changed: @escaping @Sendable (_ home: Int?) -> Void
    ) {
        self.loop = loop
        self.changed = changed
        var configuration = RelayHomes.Configuration()
        configuration.warm = warm
        // All are to begin at the first, however long a machine takes that has both ends of 5,000 handshakes.
        configuration.grace = .seconds(20)
        configuration.preference = .seconds(20)
        homes = RelayHomes(
            relays.map { .init(id: $0.id, endpoint: $0.udp, transports: [.tls]) }, identity: member.identity,
            credential: member.credential, configuration, now: .now())
        streams = RelayStreams(connectors.map { .init(tls: $0) }, on: loop, from: source) { [weak self] event in
            self?.happened(event)
        }
    }

    func start() { loop.execute { self.turn() } }

    private func turn() {
        homes.poll(now: .now(), using: &random)
        perform()
    }

    private func happened(_ event: RelayStreams.Event) {
        switch event {
        case .opened(let key):
            homes.stream(isOpen: true, relay: key.relay, attempt: key.attempt, now: .now(), using: &random)
        case .closed(let key, _):
            homes.stream(isOpen: false, relay: key.relay, attempt: key.attempt, now: .now(), using: &random)
        case .message(let key, var rest):
            while let length = rest.readInteger(as: UInt16.self), let frame = rest.readBytes(length: Int(length)) {
                _ = unsafe homes.receive(
                    frame: frame.span.bytes, relay: key.relay, attempt: key.attempt, now: .now(), using: &random)
            }
        }
        perform()
    }

    private func perform() {
        for (relay, action) in homes.takeActions() {
            switch action {
            case .sendDatagram: break
            case .sendFrame(let frame, let attempt): streams?.send(frame: frame, on: .init(relay: relay, attempt: attempt))
            case .open(let transport, let attempt, let hello):
                opens.add(1, ordering: .relaxed)
                streams?.open(.init(relay: relay, attempt: attempt), by: transport, hello)
            case .close(let attempt): streams?.close(.init(relay: relay, attempt: attempt))
            }
        }
        for event in homes.takeEvents() { if case .homes(let now) = event { changed(now.first) } }
        schedule()
    }

    private func schedule() {
        let next = homes.nextTimer
        guard next != timerAt || timer == nil else { return }
        timer?.cancel()
        timer = nil
        timerAt = next
        guard next != .never else { return }
        timer = loop.scheduleTask(in: .nanoseconds(Int64(clamping: next.since(.now()).nanoseconds))) {
            self.timer = nil
            self.turn()
        }
    }
}
