import Addressing
import Linux
import Membership
import NIOCore
import Relay
import RelayStream
import Synchronization
import Tunnel

/// The streams to relays, between the event loop that holds them and the tunnel's threads. Safe from any thread.
///
/// Relay data goes straight between packet threads and streams (`gate`); what happens to streams, and frames of every other
/// kind, are reported to the control thread, which decides.
final class StreamBridge: Sendable {
    enum Report: Sendable {
        case opened(relay: Int, attempt: UInt32)
        /// It could not be opened, for this reason, or has ended (nil).
        case closed(relay: Int, attempt: UInt32, RelayStreamError?)
        case frame([UInt8], relay: Int, attempt: UInt32)
    }

    /// Frames that are reported and not `taken` yet; a relay that says more meanwhile is not listened to. A registration
    /// takes two.
    static let frameLimit = 256

    let gate: StreamGate
    private let lines: Lines
    private let reporter = Mutex<(@Sendable (Report) -> Void)?>(nil)
    private let untaken = Atomic(0)

    /// - Parameter relays: at the same index as in `RelayHomes`, at most 16.
    init(_ relays: [RelayStreams.Connectors], on loop: any EventLoop) throws(SystemError) {
        let lines = Lines(relays: relays.count)
        self.lines = lines
        gate = try StreamGate { message, relay in lines.send(message, relay) }
        lines.streams.withLock {
            $0 = RelayStreams(relays, on: loop) { [weak self] event in self?.happened(event) }
        }
    }

    /// Reports from now on. What was before is forgotten: call it before the first `open`.
    func follow(_ report: @escaping @Sendable (Report) -> Void) { reporter.withLock { $0 = report } }

    func open(_ relay: Int, attempt: UInt32, by transport: RelayTransport, _ hello: Hello) {
        lines.all?.open(.init(relay: relay, attempt: attempt), by: transport, hello)
    }

    func close(_ relay: Int, attempt: UInt32) { lines.all?.close(.init(relay: relay, attempt: attempt)) }

    /// Sends a frame that is not data.
    func send(_ frame: [UInt8], _ relay: Int, attempt: UInt32) {
        lines.all?.send(frame: frame, on: .init(relay: relay, attempt: attempt))
    }

    /// Data for the relay goes by the stream of this attempt from now on; nil: by none.
    func use(_ attempt: UInt32?, for relay: Int) { lines.use(attempt, for: relay) }

    /// A reported frame was looked at.
    func taken() { untaken.subtract(1, ordering: .relaxed) }

    /// Messages that went to no stream, or came in faster than packets are opened.
    var dropped: UInt64 { lines.unsent.load(ordering: .relaxed) + gate.dropped }

    /// Bytes that wait for streams that are too slow.
    var backlog: Int { lines.all?.backlog ?? 0 }

    // MARK: On the event loop

    private func happened(_ event: RelayStreams.Event) {
        switch event {
        case .opened(let key): report(.opened(relay: key.relay, attempt: key.attempt))
        case .closed(let key, let error): report(.closed(relay: key.relay, attempt: key.attempt, error))
        case .message(let key, let message): received(message, on: key)
        }
    }

    private func report(_ report: Report) { reporter.withLock { $0 }?(report) }

    private func received(_ message: ByteBuffer, on key: RelayStreams.Key) {
        var rest = message
        var hasData = false
        while rest.readableBytes > 0 {
            guard let length = rest.readInteger(as: UInt16.self), length > 0,
                let frame = rest.readSlice(length: Int(length))
            else { return fail(key) }
            if frame.getInteger(at: frame.readerIndex, as: UInt8.self) == FrameType.data.rawValue {
                hasData = true
            } else if untaken.load(ordering: .relaxed) < Self.frameLimit {
                untaken.add(1, ordering: .relaxed)
                report(.frame(Array(buffer: frame), relay: key.relay, attempt: key.attempt))
            }
        }
        if hasData {
            unsafe message.withUnsafeReadableBytes {
                unsafe gate.receive($0, relay: UInt8(truncatingIfNeeded: key.relay))
            }
        }
    }

    /// What is no sequence of frames is nothing that a relay says: what follows can't be trusted either.
    private func fail(_ key: RelayStreams.Key) {
        lines.all?.close(key)
        report(.closed(relay: key.relay, attempt: key.attempt, nil))
    }

    /// Which stream data goes by, for each relay.
    private final class Lines: Sendable {
        /// Set once, right after the start.
        let streams = Mutex<RelayStreams?>(nil)
        let unsent = Atomic<UInt64>(0)
        private let attempts: Mutex<[UInt32?]>

        init(relays: Int) { attempts = Mutex(Array(repeating: nil, count: relays)) }

        var all: RelayStreams? { streams.withLock { $0 } }

        func use(_ attempt: UInt32?, for relay: Int) {
            attempts.withLock { if $0.indices.contains(relay) { $0[relay] = attempt } }
        }

        func send(_ message: [UInt8], _ relay: UInt8) {
            let attempt = attempts.withLock { $0.indices.contains(Int(relay)) ? $0[Int(relay)] : nil }
            guard let attempt,
                all?.send(
                    ByteBuffer(bytes: message), on: .init(relay: Int(relay), attempt: attempt), isControl: false)
                    == true
            else { return _ = unsent.add(1, ordering: .relaxed) }
        }
    }
}
