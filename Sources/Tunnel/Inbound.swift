import Addressing
import Queues
import Timing
import Transport
import Tun
import WireGuard

/// UDP to TUN: takes datagrams, opens transport data in place and writes it to the pod; all else is the control thread's.
/// Owned by one packet thread; all buffers are allocated once.
struct Inbound: ~Copyable {
    /// Bytes of one socket in a turn, before the loop looks at its other descriptors.
    private static let bytesPerTurn = 2 << 20
    /// Messages in one receive: while they come in bulk, few are taken at once, which are still in the cache when they are
    /// opened and don't wait for others.
    private static let messages = 16
    private static let bulkMessages = 2
    /// A short packet, sealed and for a relay.
    private static let short = LookAhead.short &+ 32 &+ RelayRoute.headerSize

    /// What one receive brought.
    @safe
    private struct Waiting {
        // Safe: both views are of the pool's buffer, which is taken until the entry is dealt with.
        var message: ReceivedMessage
        let path: Path
        let buffer: UInt32
        /// Of the pod, already opened: all there is in it.
        var packet: UnsafeMutableRawBufferPointer?
    }

    private let io: PacketIO
    /// `io`'s, which is counted for each packet when it is reached through that.
    private let plane: PacketPlane
    private var receiving: PooledReceiveBatch
    private var pool: PacketPool
    private var waiting = FIFO<Waiting>()
    /// Buffers with packets that the coalescer has.
    private var used: [UInt32] = []
    private var coalescer: SegmentCoalescer
    private var lookAhead = LookAhead()
    private var delay = QueueDelay()
    private var isBulk = false
    private let verdict = PacketVerdict()
    private var batch = PacketTally.Batch()

    init(_ io: PacketIO) throws(TransportError) {
        let pool = try PacketPool(buffers: Self.messages, bufferSize: PooledReceiveBatch.bufferSize)
        self.io = io
        plane = io.plane
        self.pool = pool
        receiving = PooledReceiveBatch(messages: Self.messages)
        used.reserveCapacity(Self.messages)
        coalescer = SegmentCoalescer(offloads: io.offloads)
    }

    /// Takes what came in on one socket, within bounds.
    mutating func receive(socket: UInt8, now: MonotonicTime) {
        let raw = io.sockets.read { $0.table[socket] } ?? -1
        var taken = 0
        while true {
            if taken < Self.bytesPerTurn { taken &+= take(from: raw, socket, now) }
            guard let first = waiting.popFirst() else { break }
            if let arrival = first.message.arrival {
                // One message alone has waited for this thread, and no queue behind another.
                delay.note(isBulk && !waiting.isEmpty ? waited(since: arrival) : .zero, now: now)
            }
            var size = unsafe first.message.bytes.count
            deal(with: first, now)
            while !lookAhead.isOn(now: now) || size < LookAhead.bulk, let next = waiting.popFirst() {
                unsafe size &+= next.message.bytes.count
                deal(with: next, now)
            }
            release()
            isBulk = size >= LookAhead.bulk
            lookAhead.note(size, now: now)
        }
    }

    /// Receives once, and deals at once with what need not wait for what came before it; how many bytes came, as they count.
    private mutating func take(from raw: Int32, _ socket: UInt8, _ now: MonotonicTime) -> Int {
        let limit = isBulk && !lookAhead.isOn(now: now) ? Self.bulkMessages : Self.messages
        let count = receiving.receive(from: raw, into: &pool, limit: limit)
        var bytes = 0
        for index in 0..<count {
            let buffer = receiving.buffer(index)
            guard let message = receiving.message(index, in: pool) else {
                pool.give(buffer)
                continue
            }
            unsafe bytes &+= message.bytes.count &+ 256
            var entry = unsafe Waiting(
                message: message, path: .direct(socket: socket, message.source), buffer: buffer)
            let isAlone = unsafe message.bytes.count <= min(Self.short, message.segmentSize)
            if isAlone, isBulk || bytes >= LookAhead.bulk {
                guard let packet = unsafe open(message.bytes, from: entry.path, now) else {
                    pool.give(buffer)
                    continue
                }
                if unsafe coalescer.mayOvertake(packet) {
                    lookAhead.met(now: now)
                    if !waiting.isEmpty {
                        unsafe deliver(packet, now)
                        used.append(buffer)
                        continue
                    }
                }
                unsafe entry.packet = unsafe packet
            }
            waiting.append(entry)
        }
        if !used.isEmpty { release() }
        return bytes
    }

    private mutating func deal(with entry: Waiting, _ now: MonotonicTime) {
        if let packet = unsafe entry.packet {
            unsafe deliver(packet, now)
        } else {
            var message = entry.message
            while let datagram = unsafe message.next() {
                if let packet = unsafe open(datagram, from: entry.path, now) { unsafe deliver(packet, now) }
            }
        }
        used.append(entry.buffer)
    }

    /// Writes what the coalescer has, which lives in the buffers that are free then.
    private mutating func release() {
        flush()
        // The next to be taken are the same again.
        while let buffer = used.popLast() { pool.give(buffer) }
    }

    /// Takes what came in by streams.
    mutating func receiveStreams(now: MonotonicTime) {
        for message in io.streams?.take() ?? [] {
            while let frame = unsafe message.next() {
                guard let agent = unsafe RelayRoute.source(of: frame) else { continue }
                let path = Path.relayed(relay: message.relay, agent)
                if let packet = unsafe openRelayed(frame, from: path, now) { unsafe deliver(packet, now) }
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

    /// The pod's packet in one datagram; nil when there is none, and all else was done with it. Demultiplexes WireGuard first,
    /// because its receiver index can look like anything else.
    @inline(__always)
    private mutating func open(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ now: MonotonicTime
    ) -> UnsafeMutableRawBufferPointer? {
        if unsafe PacketIO.isWireGuard(datagram) { return unsafe openWireGuard(datagram, from: path, now) }
        if case .direct(_, let source) = path,
            let relayed = io.relays.read({ unsafe $0.path(datagram, from: source) }) ?? nil
        {
            return unsafe openRelayed(datagram, from: relayed, now)
        }
        unsafe handOver(datagram, from: path)
        return nil
    }

    /// The same for a frame of relay data.
    @inline(__always)
    private mutating func openRelayed(
        _ frame: UnsafeMutableRawBufferPointer, from path: Path, _ now: MonotonicTime
    ) -> UnsafeMutableRawBufferPointer? {
        let payload = unsafe UnsafeMutableRawBufferPointer(rebasing: frame[RelayRoute.headerSize...])
        if unsafe PacketIO.isWireGuard(payload) { return unsafe openWireGuard(payload, from: path, now) }
        unsafe handOver(payload, from: path)
        return nil
    }

    @inline(__always)
    private mutating func openWireGuard(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ now: MonotonicTime
    ) -> UnsafeMutableRawBufferPointer? {
        // The type is in the first byte.
        guard unsafe datagram[0] == MessageType.transport.rawValue else {
            unsafe handOver(datagram, from: path)
            return nil
        }
        let opened = unsafe plane.open(datagram, now: now)
        if let peer = opened.peer { tell(peer, opened, on: path, now) }
        if let reason = opened.dropped {
            plane.drops.count(reason)
            return nil
        }
        return opened.packet.isEmpty ? nil : unsafe UnsafeMutableRawBufferPointer(rebasing: datagram[opened.packet])
    }

    /// Hands the pod's packet to the coalescer, which has it until `flush`.
    @inline(__always)
    private mutating func deliver(_ packet: UnsafeMutableRawBufferPointer, _ now: MonotonicTime) {
        if unsafe QueueDelay.mayLose(packet), delay.takesOne(now: now) { return plane.drops.count(.queueDelay) }
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
            if io.inbound.put(note) { plane.toldConfirmed(index) }
            io.wake()
        }
        guard opened.wantsRekey || peer.with({ $0.tellsHeard(on: path, now) }) else { return }
        plane.heard(peer, on: path)
        var note = Note(.heard)
        note.peer = peer.id
        note.path = path
        note.wantsRekey = opened.wantsRekey
        guard io.inbound.put(note) else { return }
        if opened.wantsRekey { plane.toldRekeyOnReceive(peer) }
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
