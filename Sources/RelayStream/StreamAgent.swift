import Addressing
package import NIOCore
package import Relay
import Sodium
import Synchronization
import Timing

/// An agent's homes on streams alone, driven by one event loop: what an agent is at relays without a UDP socket.
package final class StreamAgent: @unchecked Sendable {
    // Safe: the variables are touched on `loop` alone.
    private let loop: any EventLoop
    private let changed: @Sendable (_ homes: [Int]) -> Void
    private var homes: RelayHomes
    private var streams: RelayStreams?
    private var keys: Set<RelayStreams.Key> = []
    private var random = SecureRandom()
    private var timer: Scheduled<Void>?
    private var timerAt = MonotonicTime.never
    private let opens = Atomic(0)

    /// - Parameters:
    ///   - relays: at the same index as in `connectors`.
    ///   - source: the address to connect from, for a host that has several.
    ///   - changed: its homes as they are now, best first.
    package init(
        _ relays: [RelayHomes.Target], connectors: [RelayStreams.Connectors], identity: RelayClient.Identity,
        credential: [UInt8], _ configuration: RelayHomes.Configuration = .init(), from source: SocketAddress? = nil,
        on loop: any EventLoop, changed: @escaping @Sendable (_ homes: [Int]) -> Void
    ) {
        self.loop = loop
        self.changed = changed
        homes = RelayHomes(
            relays, identity: identity, credential: credential, configuration, now: .now())
        streams = RelayStreams(connectors, on: loop, from: source) { [weak self] event in self?.happened(event) }
    }

    /// Connections that were begun; from any thread.
    package var connectionsBegun: Int { opens.load(ordering: .relaxed) }

    package func start() { loop.execute { self.turn() } }

    /// Leaves all relays.
    package func stop() {
        loop.execute {
            self.timer?.cancel()
            for key in self.keys { self.streams?.close(key) }
            self.streams = nil
        }
    }

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
            case .sendFrame(let frame, let attempt):
                streams?.send(frame: frame, on: .init(relay: relay, attempt: attempt))
            case .open(let transport, let attempt, let hello):
                opens.add(1, ordering: .relaxed)
                keys.insert(.init(relay: relay, attempt: attempt))
                streams?.open(.init(relay: relay, attempt: attempt), by: transport, hello)
            case .close(let attempt):
                keys.remove(.init(relay: relay, attempt: attempt))
                streams?.close(.init(relay: relay, attempt: attempt))
            }
        }
        for event in homes.takeEvents() { if case .homes(let now) = event { changed(now) } }
        schedule()
    }

    private func schedule() {
        guard streams != nil else { return }
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
