import Addressing
import Timing
import Transport
import Tun
import WireGuard

/// UDP to TUN: takes datagrams, opens transport data in place and writes it to the pod; all else is the control thread's.
/// Owned by one packet thread; all buffers are allocated once.
struct Inbound: ~Copyable {
    /// Bytes of one socket in a turn, before the loop looks at its other descriptors, and in one receive: while they come
    /// in bulk, few messages are taken at once, which are still in the cache when they are opened and don't wait for others.
    private static let bytesPerTurn = 2 << 20
    private static let bulk = 32 << 10
    private static let bulkMessages = 2

    private let io: PacketIO
    private var receiving: ReceiveBatch
    private var coalescer: SegmentCoalescer
    private var delay = QueueDelay()
    private var isBulk = false
    private let verdict = PacketVerdict()
    private var batch = PacketTally.Batch()

    init(_ io: PacketIO) throws(TransportError) {
        let receiving = try ReceiveBatch()
        self.io = io
        self.receiving = receiving
        coalescer = SegmentCoalescer(offloads: io.offloads)
    }

    /// Takes what came in on one socket, within bounds.
    mutating func receive(socket: UInt8, now: MonotonicTime) {
        let raw = io.sockets.read { $0.table[socket] } ?? -1
        var taken = 0
        var limit = isBulk ? Self.bulkMessages : Int.max
        while taken < Self.bytesPerTurn {
            let count = receiving.receive(from: raw, limit: limit)
            guard count > 0 else { break }
            let before = taken
            for index in 0..<count {
                guard var message = receiving.message(index) else { continue }
                if index == 0, let arrival = message.arrival {
                    // One message alone has waited for this thread, and no queue behind another.
                    delay.note(isBulk && count > 1 ? waited(since: arrival) : .zero, now: now)
                }
                unsafe taken &+= message.bytes.count &+ 256
                let path = Path.direct(socket: socket, message.source)
                while let datagram = unsafe message.next() { unsafe received(datagram, from: path, now) }
            }
            // The packets live in the receive batch's memory: out with them before it is used again.
            flush()
            isBulk = taken &- before >= Self.bulk
            limit = isBulk ? Self.bulkMessages : .max
        }
    }

    /// Takes what came in by streams.
    mutating func receiveStreams(now: MonotonicTime) {
        for message in io.streams?.take() ?? [] {
            while let frame = unsafe message.next() {
                guard let agent = unsafe RelayRoute.source(of: frame) else { continue }
                unsafe receivedRelayed(frame, from: .relayed(relay: message.relay, agent), now)
            }
            // The packets live in the message's memory.
            withExtendedLifetime(message) { flush() }
        }
    }

    private func waited(since arrival: Int64) -> Interval {
        let wall = WallTime.now()
        let waited = wall.seconds &* 1_000_000_000 &+ Int64(wall.nanoseconds) &- arrival
        return .nanoseconds(UInt64(max(0, waited)))
    }

    /// Demultiplexes one datagram: WireGuard first, because its receiver index can look like anything else.
    @inline(__always)
    private mutating func received(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ now: MonotonicTime
    ) {
        if unsafe PacketIO.isWireGuard(datagram) {
            unsafe receivedWireGuard(datagram, from: path, now)
        } else if case .direct(_, let source) = path,
            let relayed = io.relays.read({ unsafe $0.path(datagram, from: source) }) ?? nil
        {
            unsafe receivedRelayed(datagram, from: relayed, now)
        } else {
            unsafe handOver(datagram, from: path)
        }
    }

    /// A frame of relay data.
    @inline(__always)
    private mutating func receivedRelayed(
        _ frame: UnsafeMutableRawBufferPointer, from path: Path, _ now: MonotonicTime
    ) {
        let payload = unsafe UnsafeMutableRawBufferPointer(rebasing: frame[RelayRoute.headerSize...])
        if unsafe PacketIO.isWireGuard(payload) {
            unsafe receivedWireGuard(payload, from: path, now)
        } else {
            unsafe handOver(payload, from: path)
        }
    }

    @inline(__always)
    private mutating func receivedWireGuard(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ now: MonotonicTime
    ) {
        // The type is in the first byte.
        guard unsafe datagram[0] == MessageType.transport.rawValue else { return unsafe handOver(datagram, from: path) }
        let opened = unsafe io.plane.open(datagram, now: now)
        if let peer = opened.peer { tell(peer, opened, on: path, now) }
        if let reason = opened.dropped { return io.plane.drops.count(reason) }
        guard !opened.packet.isEmpty else { return }
        let packet = unsafe UnsafeMutableRawBufferPointer(rebasing: datagram[opened.packet])
        if unsafe QueueDelay.mayLose(packet), delay.takesOne(now: now) { return io.plane.drops.count(.queueDelay) }
        batch.count(packet.count, now)
        if unsafe !coalescer.add(packet) {
            flush()
            _ = unsafe coalescer.add(packet)
        }
    }

    /// Tells the control thread of authentic packets: seldom, but at once of another path, a first packet, or new keys.
    @inline(__always)
    private func tell(
        _ peer: PeerReference, _ opened: borrowing PacketPlane.Opened, on path: Path, _ now: MonotonicTime
    ) {
        if let index = opened.confirms {
            var note = Note(.confirmed)
            note.index = index
            if io.inbound.put(note) { io.plane.toldConfirmed(index) }
            io.wake()
        }
        guard opened.wantsRekey || peer.with({ $0.tellsHeard(on: path, now) }) else { return }
        io.plane.heard(peer, on: path)
        var note = Note(.heard)
        note.peer = peer.id
        note.path = path
        note.wantsRekey = opened.wantsRekey
        guard io.inbound.put(note) else { return }
        if opened.wantsRekey { io.plane.toldRekeyOnReceive(peer) }
        io.wake()
    }

    private func handOver(_ datagram: UnsafeMutableRawBufferPointer, from path: Path) {
        var note = Note(.datagram)
        note.path = path
        if unsafe io.inbound.put(note, payload: UnsafeRawBufferPointer(datagram)) { io.wake() }
    }

    mutating func flush() {
        io.received.add(&batch)
        guard coalescer.count > 0 else { return }
        var forbidden = 0
        let result = unsafe coalescer.flush(to: io.tun) { packet in
            let isAllowed = unsafe verdict.allows(packet)
            if !isAllowed { forbidden += 1 }
            return isAllowed
        }
        TunnelCounters.add(io.counters.refused, result.refused)
        TunnelCounters.add(io.counters.forbidden, forbidden)
    }
}
