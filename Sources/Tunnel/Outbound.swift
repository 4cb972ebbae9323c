import Addressing
import Linux
import Queues
import Timing
import Transport
import Tun
import WireGuard

/// TUN to UDP: reads what the pod sends, seals it and sends it. Owned by one packet thread; all buffers are allocated once.
struct Outbound: ~Copyable {
    /// How many frames are read before the loop looks at its other descriptors: up to 2 MB of a bulk flow.
    private static let framesPerTurn = 32
    /// How many frames wait at most while it looks ahead.
    private static let frames = 8
    /// What sealing adds at most: WireGuard's header and tag, padding, and a relay header.
    private static let sealingRoom = 32 + 16 + RelayRoute.headerSize

    private let io: PacketIO
    /// `io`'s, which is counted for each packet when it is reached through that.
    private let plane: PacketPlane
    private var sending: SendBatch
    private var streamRun = StreamRun()
    /// A frame of the TUN that was read, in a buffer of the pool.
    private struct Frame {
        let buffer: UInt32
        let length: Int
        let order: FlowOrder
    }
    private var pool: PacketPool
    private var waiting = FIFO<Frame>()
    private var lookAhead = LookAhead()
    private var lastBulk = FlowOrder.unknown
    /// The socket whose send buffer was full at the last flush: the TUN is not read until it is not.
    private(set) var blockedSocket: UInt8?
    private var batch = PacketTally.Batch()

    init(_ io: PacketIO) throws(TransportError) {
        let pool = try PacketPool(buffers: Self.frames, bufferSize: TunDevice.frameBufferSize)
        var sending = try SendBatch()
        if !OffloadSwitches.chosen.sendsSegments {
            for socket in UInt8(0)..<32 { sending.setSegmentation(false, socket: socket) }
        }
        self.io = io
        plane = io.plane
        self.pool = pool
        self.sending = sending
    }

    /// Reads and sends what is there, within bounds.
    ///
    /// - Throws: when the device is gone (EBADFD) or otherwise unusable.
    mutating func transmit(now: MonotonicTime) throws(SystemError) {
        var frames = 0
        while true {
            let limit = lookAhead.isOn(now: now) ? Self.frames : 1
            while frames < Self.framesPerTurn, waiting.count < limit, try take(now) { frames += 1 }
            guard let frame = waiting.popFirst() else { break }
            // What has gone before this frame does not wait for its sealing.
            if frame.length >= LookAhead.bulk { flush() }
            transmit(frame, now)
            // A large frame is a send of its own: what is sealed does not wait for the sealing of others.
            if sending.pendingBytes >= LookAhead.bulk { flush() }
        }
        flush()
    }

    /// Reads a frame, which waits for its turn, or goes first. False when there is none.
    private mutating func take(_ now: MonotonicTime) throws(SystemError) -> Bool {
        guard let number = pool.take() else { return false }
        let buffer = unsafe pool.bytes(number)
        let length = unsafe io.tun.read(into: buffer)
        if length <= 0 {
            pool.give(number)
            let errno = Errno(Int32(-length))
            if errno == .interrupted { return true }
            // EIO: the interface is down; it may come up again.
            if errno == .again || errno == .inputOutput || length == 0 { return false }
            throw SystemError("read the TUN device", errno)
        }
        if length <= LookAhead.short &+ VirtioNetHeader.size, goesFirst(number, length, now) {
            transmit(Frame(buffer: number, length: length, order: .unknown), now)
        } else {
            let order = unsafe FlowOrder(packet(number, length))
            if length >= LookAhead.bulk { lastBulk = order }
            lookAhead.note(length, now: now)
            waiting.append(Frame(buffer: number, length: length, order: order))
        }
        return true
    }

    /// Whether a short frame need not wait for those that do.
    @inline(__always)
    private mutating func goesFirst(_ number: UInt32, _ length: Int, _ now: MonotonicTime) -> Bool {
        guard lookAhead.isAfterBulk(now: now) else { return waiting.isEmpty }
        let order = unsafe FlowOrder(packet(number, length))
        guard order.mayOvertake(waiting.lazy.map(\.order)) else { return false }
        // The end of a run is short too, and nobody else's.
        if order != lastBulk { lookAhead.met(now: now) }
        return true
    }

    private borrowing func packet(_ number: UInt32, _ length: Int) -> UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(
            rebasing: pool.bytes(number)[VirtioNetHeader.size..<max(VirtioNetHeader.size, length)])
    }

    private mutating func transmit(_ frame: Frame, _ now: MonotonicTime) {
        do {
            var splitter = try unsafe SegmentSplitter(pool.bytes(frame.buffer), length: frame.length)
            while let packet = unsafe splitter.next(paddingLimit: io.mtu) {
                // The rest of a run that is too large is as large: one answer is enough for all of it.
                guard unsafe transmit(packet, now) else { break }
            }
        } catch { TunnelCounters.add(io.counters.malformed) }
        pool.give(frame.buffer)
    }

    /// Seals one packet of the pod, padded behind its IP length, into the send batch. False when it is too large.
    @inline(__always)
    private mutating func transmit(_ packet: UnsafeRawBufferPointer, _ now: MonotonicTime) -> Bool {
        guard let buffer = unsafe reserve(packet.count &+ Self.sealingRoom) else {
            TunnelCounters.add(io.counters.unsent)
            return true
        }
        let result = unsafe plane.seal(packet, into: buffer, relayHeadroom: RelayRoute.headerSize, now: now)
        switch result {
        case .sealed(let peer, .direct(let socket, let endpoint), let length, let wantsRekey):
            batch.count(packet.count, now)
            sending.commit(length, to: endpoint, socket: socket)
            tell(peer, wantsRekey: wantsRekey, now)
        case .sealed(let peer, .relayed(let relay, let agent), let length, let wantsRekey):
            batch.count(packet.count, now)
            tell(peer, wantsRekey: wantsRekey, now)
            guard let route = io.relays.read({ $0[relay] }) ?? nil else {
                TunnelCounters.add(io.counters.unrelayed)
                return true
            }
            unsafe route.writeHeader(agent, to: buffer)
            let whole = length &+ RelayRoute.headerSize
            guard route.isStream else {
                sending.commit(whole, to: route.endpoint, socket: TunnelCore.socket(for: route.endpoint.address))
                return true
            }
            // The batch's memory is only lent: it stays free for the next.
            guard let gate = io.streams else { return true }
            unsafe streamRun.add(UnsafeRawBufferPointer(rebasing: buffer[..<whole]), relay: relay, to: gate)
        case .tooLarge(let limit):
            unsafe io.refuse(packet, .packetTooBig(mtu: limit))
            return false
        case .waits, .dropped(.noAllowedIP):
            if unsafe io.outbound.put(Note(.packet), payload: packet) { io.wake() }
        case .dropped(let reason): plane.drops.count(reason)
        }
        return true
    }

    /// Tells the control thread of packets: seldom, but for new keys.
    @inline(__always)
    private func tell(_ peer: PeerReference, wantsRekey: Bool, _ now: MonotonicTime) {
        guard wantsRekey || peer.with({ $0.tellsSent(now) }) else { return }
        var note = Note(.sent)
        note.peer = peer.id
        note.wantsRekey = wantsRekey
        guard io.outbound.put(note) else { return }
        if wantsRekey { plane.toldRekey(peer, now) }
        io.wake()
    }

    /// Room for a datagram; flushes first when there is none. Nil when the socket's buffer is full too.
    @inline(__always)
    private mutating func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer? {
        if let buffer = unsafe sending.reserve(count) { return unsafe buffer }
        flush()
        return unsafe sending.reserve(count)
    }

    mutating func flush() {
        io.sent.add(&batch)
        streamRun.flush(to: io.streams)
        guard !sending.isEmpty else { return blockedSocket = nil }
        guard let table = io.sockets.read({ $0.table }) else { return }
        let result = sending.flush(through: table)
        TunnelCounters.add(io.counters.unsent, result.dropped)
        blockedSocket = result.blocked
    }
}
