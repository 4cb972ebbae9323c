import Addressing
import Linux
import NIOCore
import Relay
import Sodium
import Synchronization
import Timing
import Transport

/// The relay's UDP thread: takes what came in, control ahead of data, and sends on what the state machine lets pass, each
/// sender its share.
///
/// Nothing is copied from UDP to UDP: a run of datagrams that came in together is rewritten where it lies and goes out
/// together. When more comes than can go out, receiving goes first, so that the fair queue decides what is lost and not the
/// kernel's buffer.
final class RelayLoop: @unchecked Sendable {
    // Safe: everything but `exchange`, `wake` and `isStopping` is touched only in `run`, by the one thread that calls it.
    let exchange: RelaySwitch
    /// The UDP port.
    let port: UInt16
    private let settings: Settings
    private let socket: UDPSocket
    private let epoll: Epoll
    private let wake: Wake
    private var runs: RunStore
    private var receiving = PooledReceiveBatch(messages: 32)
    private var replies: SendBatch
    private var sockets = SocketTable()
    private var random = SecureRandom()
    private var nextTick = MonotonicTime.zero
    private var pace: TokenBucket
    private var isBlocked = false

    struct Settings: Sendable {
        /// Relay data to UDP in bytes, in all; nil for no bound.
        var pace: TokenBucket.Limit?
        /// How long agents have to go elsewhere when the relay ends.
        var drain = Interval.seconds(2)
    }

    /// What wakes the thread up from elsewhere.
    private final class Wake: Sendable {
        let event: EventFD
        let isStopping = Atomic(false)
        init() throws(SystemError) { event = try EventFD() }
    }

    /// Receives before each send: four batches to one.
    private static let receivesPerRound = 4
    private static let roundsPerTurn = 32
    private static let socketToken: UInt64 = 0
    private static let wakeToken: UInt64 = 1

    init(_ socket: consuming UDPSocket, _ server: consuming RelayServer, _ settings: Settings = Settings()) throws {
        let wake = try Wake()
        let epoll = try Epoll()
        try epoll.add(socket.raw, .read, token: Self.socketToken)
        try epoll.add(wake.event.raw, .read, token: Self.wakeToken)
        sockets[0] = socket.raw
        let runs = try RunStore()
        let replies = try SendBatch(byteCount: 128 << 10, messages: 256)
        self.runs = runs
        self.replies = replies
        port = socket.port
        self.socket = socket
        self.epoll = epoll
        self.wake = wake
        self.settings = settings
        pace = settings.pace.map { TokenBucket(full: $0, now: .now()) } ?? TokenBucket(full: .unbounded, now: .zero)
        exchange = RelaySwitch(server) { wake.event.signal() }
    }

    /// Ends `run`, from any thread: agents are told, and given a moment.
    func stop() {
        wake.isStopping.store(true, ordering: .releasing)
        wake.event.signal()
    }

    /// Serves until `stop`: nil, or why it can't go on.
    func run() -> SystemError? {
        do {
            var end = MonotonicTime.never
            while true {
                var now = MonotonicTime.now()
                let events = try epoll.wait(timeout: wait(now, end))
                if events.contains(where: { $0.token == Self.wakeToken }) { wake.event.drain() }
                now = MonotonicTime.now()
                if events.contains(where: { $0.token == Self.socketToken && $0.ready.contains(.write) }) {
                    isBlocked = false
                    try epoll.modify(socket.raw, .read, token: Self.socketToken)
                }
                try serve(now: now)
                if nextTick <= now {
                    exchange.withServer { $0.tick(now: now, using: &random) }
                    exchange.udpDrops.store(runs.queue.drops, ordering: .relaxed)
                    exchange.udpQueue.store(runs.queue.weight, ordering: .relaxed)
                    nextTick = now + .seconds(1)
                }
                if end == .never, wake.isStopping.load(ordering: .acquiring) {
                    end = now + settings.drain
                    announceEnd()
                }
                if end <= now || (end != .never && exchange.withServer({ $0.clientCount }) == 0) { break }
            }
            for port in exchange.ports() { port.close(.shutdown) }
            return nil
        } catch { return error }
    }

    private func wait(_ now: MonotonicTime, _ end: MonotonicTime) -> Interval {
        if end != .never { return min(.milliseconds(50), end.since(now)) }
        if isBlocked || runs.queue.isEmpty { return .seconds(1) }
        // The queue waits for the pace: a millisecond is the clock's own grain.
        return settings.pace == nil ? .zero : .milliseconds(1)
    }

    private func announceEnd() {
        let seconds = UInt8(clamping: Int(settings.drain.seconds.rounded(.up)))
        for (frame, link) in exchange.withServer({ $0.drain(within: seconds) }) {
            if link.isStream {
                exchange.port(link.stream)?.deliver(control: frame)
            } else {
                reply(frame, link.endpoint)
            }
        }
        flushReplies()
    }

    private func serve(now: MonotonicTime) throws(SystemError) {
        for _ in 0..<Self.roundsPerTurn {
            var received = 0
            for _ in 0..<Self.receivesPerRound {
                runs.makeRoom()
                let count = receiving.receive(from: socket.raw, into: &runs.pool)
                guard count > 0 else { break }
                received += count
                sort(now: now)
                if count < 32 { break }
            }
            flushReplies()
            for parcel in exchange.takeParcels() { runs.add(parcel, now: now) }
            let hasSent = try send(now: now)
            if received == 0, !hasSent { return }
        }
    }

    /// Hands the received datagrams to the state machine and queues what goes on.
    private func sort(now: MonotonicTime) {
        let wall = WallTime.now()
        for index in 0..<receiving.count { runs.hold(receiving.buffer(index)) }
        exchange.withServer { server in
            // Control first: a flood of data starves no registration.
            for isControl in [true, false] {
                for index in 0..<receiving.count {
                    guard var message = receiving.message(index, in: runs.pool) else { continue }
                    let link = RelayLink(message.source)
                    var collector = RunStore.Collector(receiving.buffer(index))
                    while let datagram = unsafe message.next() {
                        guard unsafe RelayServer.isControl(datagram.bytes) == isControl else {
                            collector.skip(datagram.count)
                            continue
                        }
                        switch unsafe server.receive(datagram, from: link, now: now, wall: wall) {
                        case .forward(let destination):
                            runs.add(
                                datagram.count, to: destination, flow: server.lastFlow, &collector, now: now)
                        case .reply(let bytes):
                            collector.skip(datagram.count)
                            reply(bytes, link.endpoint)
                        case .drop: collector.skip(datagram.count)
                        }
                    }
                    runs.close(&collector, now: now)
                }
            }
        }
        for index in 0..<receiving.count { runs.release(receiving.buffer(index)) }
    }

    /// Sends what is next in the fair queue: false when nothing was, or nothing can be now.
    private func send(now: MonotonicTime) throws(SystemError) -> Bool {
        guard !isBlocked else { return false }
        var hasSent = false
        while !runs.sending.isFull, let run = nextRun(now) {
            hasSent = true
            if run.destination.isStream {
                if let port = exchange.port(run.destination.stream) { deliver(run, to: port, now: now) }
                runs.release(run)
            } else {
                runs.send(run)
            }
        }
        if runs.flush(through: sockets).blocked != nil {
            isBlocked = true
            try epoll.modify(socket.raw, [.read, .write], token: Self.socketToken)
        }
        return hasSent
    }

    private func nextRun(_ now: MonotonicTime) -> Run? {
        guard let limit = settings.pace else { return runs.popFirst(now: now) }
        // Whoever sends the last of the tokens may owe for one run: 64 KB at most.
        guard !runs.queue.isEmpty, pace.take(1, limit: limit, now: now), let run = runs.popFirst(now: now) else {
            return nil
        }
        _ = pace.takeAhead(UInt64(run.length), limit: limit, now: now)
        return run
    }

    /// Copies a run into messages of one TLS record at most.
    private func deliver(_ run: Run, to port: RelayPort, now: MonotonicTime) {
        let bytes = unsafe runs.bytes(run)
        let frameSize = run.segmentSize + StreamFrames.lengthSize
        let portion = max(1, RelaySwitch.portionSize / frameSize) * run.segmentSize
        var offset = 0
        while offset < run.length {
            let end = min(run.length, offset + portion)
            var frames = ByteBuffer()
            frames.reserveCapacity((end - offset) / max(1, run.segmentSize) * 2 + 2 + end - offset)
            while offset < end {
                let length = min(run.segmentSize, run.length - offset)
                frames.writeInteger(UInt16(clamping: length))
                unsafe frames.writeBytes(bytes[offset..<(offset + length)])
                offset += length
            }
            port.deliver(frames, flow: run.flow, now: now)
        }
    }

    private func reply(_ bytes: [UInt8], _ endpoint: Endpoint) {
        if unsafe replies.reserve(bytes.count) == nil { flushReplies() }
        guard let buffer = unsafe replies.reserve(bytes.count) else { return }
        unsafe buffer.copyBytes(from: bytes)
        replies.commit(bytes.count, to: endpoint, socket: 0)
    }

    private func flushReplies() {
        guard !replies.isEmpty else { return }
        // A full socket buffer means an overloaded link: what does not fit is lost, as on any router.
        if replies.flush(through: sockets).blocked != nil { replies.discard() }
    }
}

extension TokenBucket.Limit {
    fileprivate static let unbounded = TokenBucket.Limit(perSecond: 1, burst: 1)
}
