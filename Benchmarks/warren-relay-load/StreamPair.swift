import Addressing
import NIOCore
import NIOPosix
import Relay
import RelayStream
import Sodium
import Synchronization
import Timing

/// A member's stream and registration.
final class StreamEnd: Sendable {
    private let client: Mutex<RelayClient>
    private let connection = Mutex<RelayStreamConnection?>(nil)
    private let relay: RelayArgument
    private let arrived: @Sendable (Int) -> Void

    /// - Parameter arrived: called on the loop with the bytes of each frame of data.
    init(
        _ member: (identity: RelayClient.Identity, credential: [UInt8]), _ relay: RelayArgument,
        arrived: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        self.relay = relay
        self.arrived = arrived
        client = Mutex(
            RelayClient(
                relay: relay.udp, relayID: relay.id, identity: member.identity, credential: member.credential,
                now: .now()))
    }

    var isUp: Bool { client.withLock { $0.isUp } }
    var stream: RelayStreamConnection? { connection.withLock { $0 } }
    func header(to agent: AgentID) -> [20 of UInt8]? { client.withLock { $0.wrapHeader(agent) } }

    func open(_ connector: RelayStreamConnector, on loop: any EventLoop) async throws {
        let hello = client.withLock { client in
            var random = SecureRandom()
            return client.greet(now: .now(), using: &random)
        }
        let attempt = connector.connect(hello, on: loop, receive: { self.receive($0) }, closed: {})
        _ = try await attempt.connection.map { connection in
            self.connection.withLock { $0 = connection }
            self.client.withLock { $0.greeted(now: .now(), patience: .seconds(10)) }
        }.get()
        for _ in 0..<1000 where !isUp {
            poll()
            try await Task.sleep(nanoseconds: 5_000_000)
        }
        guard isUp else { throw RelayStreamError.timeout(relay.tls) }
    }

    private func poll() {
        var random = SecureRandom()
        while let step = client.withLock({ $0.poll(now: .now(), using: &random) }) {
            if let bytes = step.send { stream?.send(frame: bytes) }
        }
    }

    private func receive(_ message: ByteBuffer) {
        var rest = message
        var bytes = 0
        while let length = rest.readInteger(as: UInt16.self).map({ Int($0) }), length <= rest.readableBytes {
            if rest.getInteger(at: rest.readerIndex, as: UInt8.self) == FrameType.data.rawValue {
                bytes += length
                rest.moveReaderIndex(forwardBy: length)
                continue
            }
            guard let frame = rest.readBytes(length: length) else { return }
            var random = SecureRandom()
            let received = client.withLock {
                unsafe $0.receive(frame.span.bytes, from: relay.udp, now: .now(), using: &random)
            }
            if case .control(let step) = received, let bytes = step.send { stream?.send(frame: bytes) }
        }
        if bytes > 0 { arrived(bytes) }
    }
}

/// Two members on streams, one sending to the other in messages of one TLS record.
final class StreamPair: Sendable {
    private let sender: StreamEnd
    private let receiver: StreamEnd
    private let destination: AgentID
    private let relay: RelayArgument
    private let size: Int
    private let window: Int
    private let count: Counts
    private let underway = Atomic(0)

    init(
        _ sender: (identity: RelayClient.Identity, credential: [UInt8]),
        _ receiver: (identity: RelayClient.Identity, credential: [UInt8]), _ relay: RelayArgument, size: Int,
        window: Int, _ count: Counts
    ) throws {
        self.relay = relay
        self.size = size
        self.window = window
        self.count = count
        destination = receiver.identity.agent
        let box = Box()
        self.sender = StreamEnd(sender, relay)
        self.receiver = StreamEnd(receiver, relay) { bytes in box.arrived?(bytes) }
        box.set { [weak self] bytes in self?.arrived(bytes) }
    }

    /// Set once, before anything arrives.
    private final class Box: Sendable {
        private let body = Mutex<(@Sendable (Int) -> Void)?>(nil)
        var arrived: (@Sendable (Int) -> Void)? { body.withLock { $0 } }
        func set(_ new: @escaping @Sendable (Int) -> Void) { body.withLock { $0 = new } }
    }

    func run(on group: any EventLoopGroup, until end: MonotonicTime) async throws {
        let connector = RelayStreamConnector(to: relay.tls, pin: relay.pin)
        try await receiver.open(connector, on: group.next())
        try await sender.open(connector, on: group.next())
        fill()
        while MonotonicTime.now() < end { try await Task.sleep(nanoseconds: 10_000_000) }
        underway.store(1 << 40, ordering: .relaxed)
        sender.stream?.close()
        receiver.stream?.close()
    }

    private func arrived(_ bytes: Int) {
        count.add(bytes: bytes, frames: bytes / (size + FrameHeader.size))
        underway.subtract(bytes, ordering: .relaxed)
        fill()
    }

    /// Sends messages while less than the window is under way.
    private func fill() {
        guard let header = sender.header(to: destination), let stream = sender.stream else { return }
        let frameSize = size + FrameHeader.size
        let frames = max(1, 16_000 / (frameSize + StreamFrames.lengthSize))
        while underway.load(ordering: .relaxed) + frames * frameSize <= window {
            var message = ByteBuffer()
            message.reserveCapacity(frames * (frameSize + StreamFrames.lengthSize))
            for _ in 0..<frames {
                message.writeInteger(UInt16(frameSize))
                for index in header.indices { message.writeInteger(header[index]) }
                message.writeRepeatingByte(0x5a, count: size)
            }
            underway.add(frames * frameSize, ordering: .relaxed)
            stream.send(message)
        }
    }
}
