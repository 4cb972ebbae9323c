import Addressing
import Linux
import Timing
import Transport
import Tun
import WireGuard

/// TUN to UDP: reads what the pod sends, seals it and sends it. Owned by one packet thread; all buffers are allocated once.
struct Outbound: ~Copyable {
    /// How many frames are read before the loop looks at its other descriptors: up to 2 MB of a bulk flow.
    private static let framesPerTurn = 32
    private static let bulk = 32 << 10
    /// What sealing adds at most: WireGuard's header and tag, padding, and a relay header.
    private static let sealingRoom = 32 + 16 + RelayRoute.headerSize

    private let io: PacketIO
    private var sending: SendBatch
    private var streamRun = StreamRun()
    private let frame: PacketPool
    private let frameBuffer: UInt32
    /// The socket whose send buffer was full at the last flush: the TUN is not read until it is not.
    private(set) var blockedSocket: UInt8?
    private var batch = PacketTally.Batch()

    init(_ io: PacketIO) throws(TransportError) {
        var frame = try PacketPool(buffers: 1, bufferSize: TunDevice.frameBufferSize)
        guard let buffer = frame.take() else { throw .system(SystemError("allocate the frame buffer", .noBuffers)) }
        var sending = try SendBatch()
        if !OffloadSwitches.chosen.sendsSegments {
            for socket in UInt8(0)..<32 { sending.setSegmentation(false, socket: socket) }
        }
        self.io = io
        self.frame = frame
        frameBuffer = buffer
        self.sending = sending
    }

    /// Reads and sends what is there, within bounds.
    ///
    /// - Throws: when the device is gone (EBADFD) or otherwise unusable.
    mutating func transmit(now: MonotonicTime) throws(SystemError) {
        let buffer = unsafe frame.bytes(frameBuffer)
        for _ in 0..<Self.framesPerTurn {
            let length = unsafe io.tun.read(into: buffer)
            if length <= 0 {
                let errno = Errno(Int32(-length))
                if errno == .again || length == 0 { break }
                if errno == .interrupted { continue }
                // EIO: the interface is down; it may come up again.
                if errno == .inputOutput { break }
                throw SystemError("read the TUN device", errno)
            }
            do {
                var splitter = try unsafe SegmentSplitter(buffer, length: length)
                while let packet = unsafe splitter.next(paddingLimit: io.mtu) {
                    // The rest of a run that is too large is as large: one answer is enough for all of it.
                    guard unsafe transmit(packet, now) else { break }
                }
            } catch { TunnelCounters.add(io.counters.malformed) }
            // A large frame is a send of its own: what is sealed does not wait for the sealing of others.
            if sending.pendingBytes >= Self.bulk { flush() }
        }
        flush()
    }

    /// Seals one packet of the pod, padded behind its IP length, into the send batch. False when it is too large.
    @inline(__always)
    private mutating func transmit(_ packet: UnsafeRawBufferPointer, _ now: MonotonicTime) -> Bool {
        guard let buffer = unsafe reserve(packet.count &+ Self.sealingRoom) else {
            TunnelCounters.add(io.counters.unsent)
            return true
        }
        let result = unsafe io.plane.seal(packet, into: buffer, relayHeadroom: RelayRoute.headerSize, now: now)
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
        case .dropped(let reason): io.plane.drops.count(reason)
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
        if wantsRekey { io.plane.toldRekey(peer, now) }
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
