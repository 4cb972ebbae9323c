package import NIOCore
package import Relay
import Synchronization

/// The streams of an agent's uplinks: opens, closes and sends what `RelayHomes` decides. Safe from any thread; what happens is
/// reported on the event loop, in order for each stream.
package final class RelayStreams: Sendable {
    /// One attempt of one uplink.
    package struct Key: Hashable, Sendable {
        package let relay: Int
        package let attempt: UInt32

        package init(relay: Int, attempt: UInt32) {
            self.relay = relay
            self.attempt = attempt
        }
    }

    package enum Event: Sendable {
        case opened(Key)
        /// It could not be opened, for this reason, or has ended (nil).
        case closed(Key, RelayStreamError?)
        /// A message of frames (`StreamFrames`).
        case message(Key, ByteBuffer)
    }

    /// How one relay is reached by TLS; nil where it is not.
    package struct Connectors: Sendable {
        package var tls: RelayStreamConnector?
        package var proxy: RelayStreamConnector?

        package init(tls: RelayStreamConnector?, proxy: RelayStreamConnector? = nil) {
            self.tls = tls
            self.proxy = proxy
        }
    }

    private enum Stage {
        case opening(RelayStreamAttempt)
        case open(RelayStreamConnection)
    }

    private let relays: [Connectors]
    private let loop: any EventLoop
    private let source: SocketAddress?
    private let report: @Sendable (Event) -> Void
    private let stages = Mutex<[Key: Stage]>([:])

    /// - Parameters:
    ///   - relays: at the same index as in `RelayHomes`.
    ///   - source: the address to connect from, for a host that has several.
    package init(
        _ relays: [Connectors], on loop: any EventLoop, from source: SocketAddress? = nil,
        report: @escaping @Sendable (Event) -> Void
    ) {
        self.relays = relays
        self.loop = loop
        self.source = source
        self.report = report
    }

    package func open(_ key: Key, by transport: RelayTransport, _ hello: Hello) {
        let connectors = relays.indices.contains(key.relay) ? relays[key.relay] : Connectors(tls: nil)
        guard let connector = transport == .proxy ? connectors.proxy : connectors.tls else {
            return loop.execute { self.report(.closed(key, .cancelled)) }
        }
        // On the loop, so that it is noted before anything can come of it.
        loop.execute {
            let attempt = connector.connect(
                hello, on: self.loop, from: self.source, receive: { self.report(.message(key, $0)) },
                closed: { self.end(key, nil) })
            self.stages.withLock { $0[key] = .opening(attempt) }
            attempt.connection.whenComplete { result in
                switch result {
                case .success(let connection): self.begin(key, connection)
                case .failure(let error): self.end(key, error as? RelayStreamError ?? .cancelled)
                }
            }
        }
    }

    /// Nothing more is reported of it, but what was on its way.
    package func close(_ key: Key) {
        loop.execute {
            switch self.stages.withLock({ $0.removeValue(forKey: key) }) {
            case .opening(let attempt): attempt.cancel()
            case .open(let connection): connection.close()
            case nil: break
            }
        }
    }

    /// Sends a message of frames; false when the stream is not open.
    @discardableResult
    package func send(_ message: ByteBuffer, on key: Key, isControl: Bool) -> Bool {
        guard case .open(let connection) = stages.withLock({ $0[key] }) else { return false }
        connection.send(message, isControl: isControl)
        return true
    }

    /// Bytes that wait in all of them.
    package var backlog: Int {
        stages.withLock { stages in
            stages.values.reduce(0) { sum, stage in
                if case .open(let connection) = stage { sum + connection.backlog } else { sum }
            }
        }
    }

    /// Sends one frame that is not data.
    @discardableResult
    package func send(frame: [UInt8], on key: Key) -> Bool {
        send(ByteBuffer(bytes: StreamFrames.message(frame)), on: key, isControl: true)
    }

    private func begin(_ key: Key, _ connection: RelayStreamConnection) {
        let isWanted = stages.withLock { stages in
            guard stages[key] != nil else { return false }
            stages[key] = .open(connection)
            return true
        }
        if isWanted { report(.opened(key)) } else { connection.close() }
    }

    private func end(_ key: Key, _ error: RelayStreamError?) {
        if stages.withLock({ $0.removeValue(forKey: key) }) != nil { report(.closed(key, error)) }
    }
}
