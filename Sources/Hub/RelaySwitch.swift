import Addressing
import Linux
import NIOCore
import Relay
import Synchronization
import Timing

/// One relay's registrations, shared by the thread of its UDP socket and the event loops of its streams, and the ways between
/// them: whoever took a frame in asks here where it goes, and hands it to the stream's port or to the thread.
final class RelaySwitch: Sendable {
    /// Frames on their way from a stream to the UDP socket: a message's part, with the lengths between.
    struct Parcel: Sendable {
        let frames: ByteBuffer
        let destination: Endpoint
        let flow: Int
    }

    private struct State: ~Copyable, Sendable {
        var server: RelayServer
        var ports: [UInt64: RelayPort] = [:]
        var lastStream: UInt64 = 0
        /// Open streams that have registered once.
        var registered = 0
    }

    private struct Mailbox {
        var parcels: [Parcel] = []
        var bytes = 0
        var dropped: UInt64 = 0
    }

    /// Parcels that wait for the UDP thread; what is beyond is dropped.
    private static let mailboxLimit = 8 << 20
    /// What goes to a stream at once fills at most one TLS record.
    static let portionSize = 16_000

    private let state: Mutex<State>
    private let mailbox = Mutex(Mailbox())
    private let wake: @Sendable () -> Void

    /// - Parameter wake: makes the UDP thread look at its parcels.
    init(_ server: consuming RelayServer, wake: @escaping @Sendable () -> Void) {
        state = Mutex(State(server: server))
        self.wake = wake
    }

    /// Runs `body` on the state machine, and closes the streams whose registration it ended.
    func withServer<Result: Sendable>(_ body: (inout RelayServer) -> Result) -> Result {
        let (result, ended) = state.withLock { state in
            let result = body(&state.server)
            return (result, Self.takeEnded(&state))
        }
        for port in ended { port.close(.replaced) }
        return result
    }

    /// The port of a stream that is open.
    func port(_ stream: UInt64) -> RelayPort? { state.withLock { $0.ports[stream] } }

    var openStreams: Int { state.withLock { $0.ports.count } }
    var unregisteredStreams: Int { state.withLock { $0.ports.count - $0.registered } }
    /// What queues lost: of the UDP thread, on the way to it, and of the streams that are open.
    var queueDrops: UInt64 {
        mailbox.withLock { $0.dropped } + udpDrops.load(ordering: .relaxed) + ports().reduce(0) { $0 + $1.drops }
    }
    /// What waits: in the UDP thread, on the way to it, and for the streams that are open.
    var queueBytes: Int {
        mailbox.withLock { $0.bytes } + udpQueue.load(ordering: .relaxed) + ports().reduce(0) { $0 + $1.queued }
    }
    /// Counted by the UDP thread.
    let udpDrops = Atomic<UInt64>(0)
    /// Written by the UDP thread.
    let udpQueue = Atomic<Int>(0)

    /// Gives a new stream its number.
    func open(from endpoint: Endpoint, _ channel: any Channel) -> RelayPort {
        state.withLock { state in
            state.lastStream += 1
            let port = RelayPort(RelayLink(stream: state.lastStream, from: endpoint), channel)
            state.ports[state.lastStream] = port
            return port
        }
    }

    /// The stream has registered for the first time.
    func noteRegistered() { state.withLock { $0.registered += 1 } }

    /// The stream was closed.
    func close(_ port: RelayPort, wasRegistered: Bool) {
        state.withLock { state in
            state.ports[port.link.stream] = nil
            if wasRegistered { state.registered -= 1 }
            state.server.disconnect(port.link)
        }
    }

    /// All ports, for the end.
    func ports() -> [RelayPort] { state.withLock { Array($0.ports.values) } }

    /// Takes all parcels for the UDP thread.
    func takeParcels() -> [Parcel] {
        mailbox.withLock { mailbox in
            if mailbox.parcels.isEmpty { return [] }
            defer {
                mailbox.parcels = []
                mailbox.bytes = 0
            }
            return mailbox.parcels
        }
    }

    /// Sends on what a stream's message holds. The frames are rewritten in `message`, which nobody else has.
    ///
    /// - Parameter admits: whether a frame of this type may be handled now; asked for all but relay data.
    /// - Returns: the answers to it, each a frame.
    /// - Throws: `FrameFault` when the message is not whole frames: what follows can't be trusted either. The frames before
    ///   have been sent on.
    func receive(
        _ message: inout ByteBuffer, from port: RelayPort, now: MonotonicTime, wall: WallTime,
        admits: (FrameType) -> Bool
    ) throws(FrameFault) -> [[UInt8]] {
        var outcome = Outcome()
        let ended = state.withLock { state in
            unsafe message.withUnsafeMutableReadableBytes { bytes in
                unsafe Self.sort(bytes, port.link, &state, now, wall, admits, &outcome)
            }
            return Self.takeEnded(&state)
        }
        for delivery in outcome.deliveries {
            guard let frames = message.getSlice(at: message.readerIndex + delivery.start, length: delivery.count) else {
                continue
            }
            if let port = delivery.port {
                port.deliver(frames, flow: delivery.flow, now: now)
            } else if !delivery.destination.isStream {
                post(Parcel(frames: frames, destination: delivery.destination.endpoint, flow: delivery.flow))
            }
        }
        for port in ended { port.close(.replaced) }
        if let fault = outcome.fault { throw fault }
        return outcome.replies
    }

    private struct Delivery {
        let destination: RelayLink
        let port: RelayPort?
        let flow: Int
        let start: Int
        var count: Int
    }

    private struct Outcome {
        var deliveries: [Delivery] = []
        var replies: [[UInt8]] = []
        var fault: FrameFault?
    }

    private static func sort(
        _ bytes: UnsafeMutableRawBufferPointer, _ link: RelayLink, _ state: inout State, _ now: MonotonicTime,
        _ wall: WallTime, _ admits: (FrameType) -> Bool, _ outcome: inout Outcome
    ) {
        var offset = 0
        while true {
            let start = offset
            let frame: UnsafeMutableRawBufferPointer
            do throws(FrameFault) {
                guard let next = try unsafe StreamFrames.next(in: bytes, at: &offset) else { return }
                unsafe frame = unsafe next
            } catch {
                outcome.fault = error
                return
            }
            let type = unsafe FrameType(rawValue: frame[0])
            if type != .data, !admits(type) { continue }
            switch unsafe state.server.receive(frame, from: link, now: now, wall: wall) {
            case .forward(let destination):
                let count = offset &- start
                if let last = outcome.deliveries.last, last.destination == destination,
                    last.start &+ last.count == start, last.count &+ count <= portionSize
                {
                    outcome.deliveries[outcome.deliveries.count &- 1].count &+= count
                } else {
                    outcome.deliveries.append(
                        Delivery(
                            destination: destination,
                            port: destination.isStream ? state.ports[destination.stream] : nil,
                            flow: state.server.lastFlow, start: start, count: count))
                }
            case .reply(let reply): outcome.replies.append(reply)
            case .drop: break
            }
        }
    }

    private static func takeEnded(_ state: inout State) -> [RelayPort] {
        state.server.takeEndedStreams().compactMap { state.ports[$0] }
    }

    private func post(_ parcel: Parcel) {
        let isFirst = mailbox.withLock { mailbox -> Bool in
            let size = parcel.frames.readableBytes
            guard mailbox.bytes + size <= Self.mailboxLimit else {
                mailbox.dropped += 1
                return false
            }
            mailbox.parcels.append(parcel)
            mailbox.bytes += size
            return mailbox.parcels.count == 1
        }
        if isFirst { wake() }
    }
}
