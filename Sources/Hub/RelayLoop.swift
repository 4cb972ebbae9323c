import Addressing
import Linux
import Relay
import Sodium
import Timing
import Transport

/// The relay's thread: takes what came in, control frames ahead of data, and sends what the state machine says.
final class RelayLoop: @unchecked Sendable {
    // Safe: everything but `wake` is touched only in `run`, by the one thread that calls it.
    private let socket: UDPSocket
    private var server: RelayServer
    private var receiving: ReceiveBatch
    private var sending: SendBatch
    private var sockets = SocketTable()
    private var random = SecureRandom()
    private let epoll: Epoll
    private let wake: EventFD
    private var nextTick = MonotonicTime.zero

    private static let batchesPerTurn = 16

    init(_ socket: consuming UDPSocket, _ server: consuming RelayServer) throws {
        let receiving = try ReceiveBatch()
        let sending = try SendBatch(byteCount: 1 << 20, messages: 512)
        let epoll = try Epoll()
        let wake = try EventFD()
        try epoll.add(socket.raw, .read, token: 0)
        try epoll.add(wake.raw, .read, token: 1)
        sockets[0] = socket.raw
        self.socket = socket
        self.server = server
        self.receiving = receiving
        self.sending = sending
        self.epoll = epoll
        self.wake = wake
    }

    /// Ends `run`, from any thread.
    func stop() { wake.signal() }

    /// Serves until `stop`: nil, or why it can't go on.
    func run() -> SystemError? {
        do {
            while true {
                let events = try epoll.wait(timeout: .seconds(1))
                if events.contains(where: { $0.token == 1 }) { break }
                let now = MonotonicTime.now()
                if !events.isEmpty { serve(now: now, wall: .now()) }
                if nextTick <= now {
                    server.tick(now: now, using: &random)
                    nextTick = now + .seconds(1)
                }
            }
            for (datagram, endpoint) in server.drain(within: 1) { send(datagram, to: endpoint) }
            _ = sending.flush(through: sockets)
            return nil
        } catch { return error }
    }

    private func serve(now: MonotonicTime, wall: WallTime) {
        for _ in 0..<Self.batchesPerTurn {
            let count = receiving.receive(from: sockets[0])
            guard count > 0 else { break }
            // Control first: a flood of data starves no registration.
            for isControl in [true, false] {
                for index in 0..<count {
                    guard var message = receiving.message(index) else { continue }
                    while let datagram = unsafe message.next() {
                        guard unsafe RelayServer.isControl(datagram.bytes) == isControl else { continue }
                        unsafe handle(datagram, from: message.source, now: now, wall: wall)
                    }
                }
            }
            let sent = sending.flush(through: sockets)
            // A full socket buffer means an overloaded link: what does not fit is lost, as on any router.
            if sent.blocked != nil { sending.discard() }
        }
    }

    private func handle(
        _ datagram: UnsafeMutableRawBufferPointer, from source: Endpoint, now: MonotonicTime, wall: WallTime
    ) {
        switch unsafe server.receive(datagram, from: source, now: now, wall: wall) {
        case .forward(let destination):
            guard let buffer = unsafe reserve(datagram.count) else { return }
            unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(datagram))
            sending.commit(datagram.count, to: destination, socket: 0)
        case .reply(let bytes): send(bytes, to: source)
        case .drop: break
        }
    }

    private func send(_ bytes: [UInt8], to endpoint: Endpoint) {
        guard let buffer = unsafe reserve(bytes.count) else { return }
        unsafe buffer.copyBytes(from: bytes)
        sending.commit(bytes.count, to: endpoint, socket: 0)
    }

    private func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer? {
        if let buffer = unsafe sending.reserve(count) { return unsafe buffer }
        if sending.flush(through: sockets).blocked != nil { sending.discard() }
        return unsafe sending.reserve(count)
    }
}
