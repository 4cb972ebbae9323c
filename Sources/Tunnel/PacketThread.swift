import Glibc
import Linux
import Synchronization
import Timing
import Transport
import Tun
import WireGuard

/// A plain thread that moves packets: one direction, or both where there is one processor for all.
///
/// It looks at what the control thread publishes only within a turn, and waits between turns. The control thread adds and
/// removes sockets while it runs.
final class PacketThread: @unchecked Sendable {
    // Safe: `outbound`, `inbound`, `pace`, `awaited` and `isPaused` are touched only in `run`, by its one thread.
    enum Direction { case outbound, inbound, both }

    private enum Token {
        // Below are the sockets' indices.
        static let tun: UInt64 = 256
        static let end: UInt64 = 257
        static let streams: UInt64 = 258
    }

    private let io: PacketIO
    private let direction: Direction
    private var outbound: Outbound?
    private var inbound: Inbound?
    private let epoll: Epoll
    private let ending: EventFD
    private let isEnding = Atomic(false)
    private let failure = Mutex<SystemError?>(nil)
    private let turnCount = Atomic<UInt64>(0)
    private var pace = ThreadPace()
    /// Whether the TUN is left unread until a socket takes more.
    private var isPaused = false
    /// The socket whose room is waited for, and its descriptor.
    private var awaited: (index: UInt8, raw: Int32)?

    init(_ io: PacketIO, _ direction: Direction) throws(TransportError) {
        let epoll = try Self.system { () throws(SystemError) in try Epoll() }
        let ending = try Self.system { () throws(SystemError) in try EventFD() }
        do {
            try epoll.add(ending.raw, .read, token: Token.end)
            if direction != .inbound { try epoll.add(io.tun.raw, .read, token: Token.tun) }
            if direction != .outbound, let streams = io.streams {
                try epoll.add(streams.event.raw, .read, token: Token.streams)
            }
        } catch { throw .system(error) }
        self.io = io
        self.direction = direction
        self.epoll = epoll
        self.ending = ending
        outbound = nil
        inbound = nil
        if direction != .inbound { outbound = try Outbound(io) }
        if direction != .outbound { inbound = try Inbound(io) }
    }

    private static func system<Made: ~Copyable>(
        _ make: () throws(SystemError) -> Made
    ) throws(TransportError) -> Made {
        do { return try make() } catch { throw .system(error) }
    }

    var readsSockets: Bool { direction != .outbound }
    /// The thread's, as the kernel shows it.
    var name: String { readsSockets ? "wg-in" : "wg-out" }

    /// How many turns it has ended. From any thread.
    var turns: UInt64 { turnCount.load(ordering: .relaxed) }

    /// Whether something that it waits for is there. From any thread.
    var hasWork: Bool {
        var descriptor = pollfd(fd: epoll.raw, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&descriptor, 1, 0) > 0
    }

    /// Reads `raw` from now on, as socket `index`. From any thread.
    func watch(_ raw: Int32, index: UInt8) throws(SystemError) {
        if readsSockets { try epoll.add(raw, .read, token: UInt64(index)) }
    }

    /// Reads `raw` no more. From any thread.
    func unwatch(_ raw: Int32) { if readsSockets { try? epoll.remove(raw) } }

    /// Why the thread ended by itself; nil when it did not.
    var error: SystemError? { failure.withLock { $0 } }

    func end() {
        isEnding.store(true, ordering: .releasing)
        ending.signal()
    }

    /// Moves packets until `end`, or until the TUN device is gone.
    func run() {
        let events = EpollEvents()
        pace.begin(now: .now())
        do {
            while !isEnding.load(ordering: .acquiring) {
                let count = try epoll.wait(into: events, timeout: nil)
                let now = MonotonicTime.now()
                try turn(events, count, now)
                // This thread alone writes it.
                turnCount.store(turnCount.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
                pace.turned(now: now)
            }
        } catch {
            failure.withLock { $0 = error }
            io.door.signal()
        }
    }

    private func turn(_ events: borrowing EpollEvents, _ count: Int, _ now: MonotonicTime) throws(SystemError) {
        if direction != .inbound { io.plane.reclaimer.outbound.begin() }
        if direction != .outbound { io.plane.reclaimer.inbound.begin() }
        defer {
            if direction != .inbound { io.plane.reclaimer.outbound.end() }
            if direction != .outbound { io.plane.reclaimer.inbound.end() }
        }
        for index in 0..<count {
            let event = events[index]
            switch event.token {
            case Token.tun: try outbound?.transmit(now: now)
            case Token.end: break
            case Token.streams: inbound?.receiveStreams(now: now)
            default: if event.ready != .write { inbound?.receive(socket: UInt8(event.token), now: now) }
            }
        }
        outbound?.flush()
        inbound?.flush()
        if direction != .inbound { try follow(outbound?.blockedSocket ?? nil) }
    }

    /// Waits for room in the buffer of the socket that is full, and of no other, which would be ready all the time; and
    /// reads nothing from the pod meanwhile: its queue fills, its senders slow.
    private func follow(_ blocked: UInt8?) throws(SystemError) {
        guard isPaused || blocked != nil else { return }
        if isPaused != (blocked != nil) {
            try epoll.modify(io.tun.raw, blocked == nil ? .read : [], token: Token.tun)
            isPaused = blocked != nil
        }
        let raw = blocked.map { index in (index: index, raw: io.sockets.read { $0.table[index] } ?? -1) }
        if let awaited, raw.map({ $0 == awaited }) != true {
            // A closed descriptor has left the epoll set by itself, and its number may be another's now.
            if readsSockets {
                try? epoll.modify(awaited.raw, .read, token: UInt64(awaited.index))
            } else {
                try? epoll.remove(awaited.raw)
            }
            self.awaited = nil
        }
        guard awaited == nil, let raw, raw.raw >= 0 else { return }
        if readsSockets {
            try? epoll.modify(raw.raw, [.read, .write], token: UInt64(raw.index))
        } else {
            try? epoll.add(raw.raw, .write, token: UInt64(raw.index))
        }
        awaited = raw
    }
}
