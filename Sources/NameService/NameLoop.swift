import Addressing
import DNS
import Glibc
import Linux
import Timing

/// What the name server's thread does: waits for sockets, and does what the resolver says.
struct NameLoop: ~Copyable {
    static let streamLimit = 64
    /// Datagrams that are taken from one socket before the others have their turn.
    private static let batch = 64
    private static let sweepInterval = Interval.seconds(1)

    /// What an event is about: the upper half of its token.
    private enum Source: UInt64 {
        case wake, datagrams, listener, stream, exchange
    }

    private let listeners: [NameServer.Listener]
    private let lookUp: @Sendable (MeshKey) -> Void
    private let epoll: Epoll
    private let events = EpollEvents()
    private let buffer = ReceiveBuffer()
    private var resolver: Resolver
    private var streams: [UInt32: StreamClient] = [:]
    private var exchanges: [UInt32: Exchange] = [:]
    private var lastStream: UInt32 = 0
    private var nextSweep = MonotonicTime.never
    /// No descriptors were left for connections: the listeners are out of epoll until the next sweep.
    private var isPaused = false

    init(
        _ listeners: [NameServer.Listener], wake: Int32, resolver: consuming Resolver,
        lookUp: @escaping @Sendable (MeshKey) -> Void
    ) throws(SystemError) {
        let epoll = try Epoll()
        try epoll.add(wake, .read, token: Self.token(.wake, 0))
        for (index, listener) in listeners.enumerated() {
            try epoll.add(listener.udp, .read, token: Self.token(.datagrams, UInt32(index)))
            try epoll.add(listener.tcp, .read, token: Self.token(.listener, UInt32(index)))
        }
        self.listeners = listeners
        self.lookUp = lookUp
        self.resolver = resolver
        self.epoll = epoll
    }

    var report: NameServer.Report {
        var report = NameServer.Report()
        report.counters = resolver.counters
        report.streams = streams.count
        report.upstreamsDown = resolver.upstreamsDown
        return report
    }

    /// Waits once, and does all that is to be done; false when it is time to stop.
    mutating func turn(takeNotes: () -> [NameServer.Note]?) throws(SystemError) -> Bool {
        let deadline = min(resolver.nextDeadline, nextSweep)
        let count = try epoll.wait(
            into: events, timeout: deadline == .never ? nil : deadline.since(.now()))
        let now = MonotonicTime.now()
        for index in 0..<count {
            let event = events[index]
            let number = UInt32(truncatingIfNeeded: event.token)
            switch Source(rawValue: event.token >> 32) {
            case .wake:
                guard let notes = takeNotes() else { return false }
                for note in notes { take(note, now) }
            case .datagrams: receive(on: Int(number), now)
            case .listener: try accept(on: Int(number), now)
            case .stream: proceed(stream: number, event.ready, now)
            case .exchange: proceed(exchange: number, now)
            case nil: break
            }
            perform(now)
        }
        resolver.tick(now: now)
        perform(now)
        if nextSweep <= now { try sweep(now) }
        return true
    }

    private static func token(_ source: Source, _ number: UInt32) -> UInt64 { source.rawValue << 32 | UInt64(number) }

    private mutating func take(_ note: NameServer.Note, _ now: MonotonicTime) {
        switch note {
        case .resolved(let key, let outcome): resolver.resolved(key, outcome, now: now)
        case .updated(let key, let outcome): resolver.updated(key, outcome, now: now)
        case .connected(let isConnected): resolver.isConnected = isConnected
        case .ranges(let ranges): resolver.zone.ranges = ranges
        }
    }

    private mutating func perform(_ now: MonotonicTime) {
        // What fails at once leads to new actions, a bounded number of times.
        while true {
            let actions = resolver.takeActions()
            if actions.isEmpty { return }
            for action in actions {
                switch action {
                case .answer(.datagram(let socket, let remote), let bytes):
                    InternetSocket.send(bytes, on: listeners[socket].udp, to: remote)
                case .answer(.stream(let number), let bytes): answer(bytes, on: number, now)
                case .send(let attempt, let server, let bytes, let overTCP):
                    send(bytes, attempt, to: server, overTCP: overTCP, now)
                // Closing takes a socket out of epoll.
                case .close(let attempt): exchanges[attempt] = nil
                case .lookUp(let key): lookUp(key)
                }
            }
        }
    }

    // MARK: Clients

    private mutating func receive(on index: Int, _ now: MonotonicTime) {
        for _ in 0..<Self.batch {
            guard case .success((let bytes, let source)) = buffer.receive(listeners[index].udp) else { return }
            guard let source else { continue }
            resolver.receive(bytes, from: .datagram(socket: index, from: source), now: now)
            perform(now)
        }
    }

    private mutating func accept(on index: Int, _ now: MonotonicTime) throws(SystemError) {
        for _ in 0..<Self.batch {
            let socket: FileDescriptor
            do throws(SystemError) {
                guard let next = try InternetSocket.accept(listeners[index].tcp) else { return }
                socket = next
            } catch { return try pause(now) }
            // One too many is closed at once: it may try again, and those that are open are served.
            guard streams.count < Self.streamLimit else { continue }
            lastStream = lastStream &+ 1
            let raw = socket.raw
            let stream = StreamClient(socket, now: now)
            guard (try? epoll.add(raw, .read, token: Self.token(.stream, lastStream))) != nil else { continue }
            streams[lastStream] = stream
            nextSweep = min(nextSweep, now + Self.sweepInterval)
        }
    }

    private mutating func pause(_ now: MonotonicTime) throws(SystemError) {
        guard !isPaused else { return }
        isPaused = true
        for listener in listeners { try epoll.remove(listener.tcp) }
        nextSweep = min(nextSweep, now + Self.sweepInterval)
    }

    private mutating func proceed(stream number: UInt32, _ ready: Epoll.Interest, _ now: MonotonicTime) {
        guard let stream = streams[number] else { return }
        // Nobody is there to be answered; epoll says so whether it is asked or not.
        if ready.contains(.error) || ready.contains(.hangUp) && !stream.interest.contains(.read) {
            return streams[number] = nil
        }
        do throws(StreamFault) {
            try stream.flush()
            if stream.interest.contains(.read) {
                switch buffer.receive(stream.socket.raw) {
                case .success((let bytes, _)): stream.append(bytes)
                case .failure(.again), .failure(.interrupted): break
                case .failure: throw StreamFault()
                }
            }
            try takeQueries(of: stream, number, now)
        } catch { streams[number] = nil }
    }

    private mutating func takeQueries(
        of stream: StreamClient, _ number: UInt32, _ now: MonotonicTime
    ) throws(StreamFault) {
        while let query = try stream.next(now: now) {
            let dropped = resolver.counters.dropped
            resolver.receive(query, from: .stream(number), now: now)
            if resolver.counters.dropped > dropped { stream.skipAnswer() }
        }
        try settle(stream, number)
    }

    private mutating func answer(_ bytes: [UInt8], on number: UInt32, _ now: MonotonicTime) {
        guard let stream = streams[number] else { return }
        do throws(StreamFault) {
            try stream.answer(bytes, now: now)
            try takeQueries(of: stream, number, now)
        } catch { streams[number] = nil }
    }

    private mutating func settle(_ stream: StreamClient, _ number: UInt32) throws(StreamFault) {
        if stream.isDone { throw StreamFault() }
        let token = Self.token(.stream, number)
        guard (try? epoll.modify(stream.socket.raw, stream.interest, token: token)) != nil else { throw StreamFault() }
    }

    private mutating func sweep(_ now: MonotonicTime) throws(SystemError) {
        streams = streams.filter { now.since($0.value.lastProgress) < StreamClient.idleTime }
        if isPaused {
            isPaused = false
            for (index, listener) in listeners.enumerated() {
                try epoll.add(listener.tcp, .read, token: Self.token(.listener, UInt32(index)))
            }
        }
        nextSweep = streams.isEmpty ? .never : now + Self.sweepInterval
    }

    // MARK: Servers

    private mutating func send(
        _ bytes: [UInt8], _ attempt: UInt32, to server: Endpoint, overTCP: Bool, _ now: MonotonicTime
    ) {
        do throws(SystemError) {
            let exchange = try Exchange(bytes, to: server, overTCP: overTCP)
            try epoll.add(exchange.socket.raw, exchange.interest, token: Self.token(.exchange, attempt))
            exchanges[attempt] = exchange
        } catch { resolver.failed(attempt: attempt, now: now) }
    }

    private mutating func proceed(exchange number: UInt32, _ now: MonotonicTime) {
        guard let exchange = exchanges[number] else { return }
        let before = exchange.interest
        switch exchange.proceed(buffer) {
        case .message(let bytes): resolver.received(bytes, attempt: number, now: now)
        case .failed: resolver.failed(attempt: number, now: now)
        case .waiting:
            guard exchange.interest != before else { return }
            let token = Self.token(.exchange, number)
            try? epoll.modify(exchange.socket.raw, exchange.interest, token: token)
        }
    }
}
