package import Addressing
package import Timing
import Transport
import WireGuard

// What the control thread sends.
extension TunnelCore {
    /// What sealing adds at most: WireGuard's header and tag, padding, and a relay header.
    private static var sealingRoom: Int { 32 + 16 + RelayRoute.headerSize }

    /// Seals and sends a packet of the pod that had no route or no session when it came, or keeps it until it has.
    package mutating func transmit<Policy: TunnelPolicy & ~Copyable>(
        _ packet: UnsafeRawBufferPointer, _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) {
        if packet.count > pathLimit, unsafe refuseOversized(packet) { return }
        guard let buffer = unsafe reserve(packet.count &+ Self.sealingRoom) else {
            TunnelCounters.add(io.counters.unsent)
            return
        }
        let result = unsafe device.encapsulate(
            packet, into: buffer, relayHeadroom: RelayRoute.headerSize, now: now, wall: wall)
        switch result {
        case .sealed(let peer, .direct(let socket, let endpoint), let length):
            noteSent(packet.count, now)
            sending.commit(length, to: endpoint, socket: socket)
            policy.sent(peer, now: now)
        case .sealed(let peer, .relayed(let relay, let agent), let length):
            noteSent(packet.count, now)
            policy.sent(peer, now: now)
            guard let route = route(relay) else { return }
            unsafe route.writeHeader(agent, to: buffer)
            unsafe commit(buffer, length &+ RelayRoute.headerSize, to: relay, route)
        case .queued(let peer): policy.sent(peer, now: now)
        case .tooLarge(let limit): unsafe io.refuse(packet, .packetTooBig(mtu: limit))
        case .dropped(.noAllowedIP): unsafe policy.unroutable(packet, &self, now: now)
        case .dropped: break
        }
    }

    private func noteSent(_ length: Int, _ now: MonotonicTime) {
        var batch = PacketTally.Batch()
        batch.count(length, now)
        io.sent.add(&batch)
    }

    /// Answers a packet that is larger than any path is known to carry with "packet too big", which makes the pod's sender
    /// use smaller ones. False for one that may be sent all the same: IPv4 without don't-fragment is fragmented outside, and
    /// only padding can make a packet that fits look too large.
    private func refuseOversized(_ packet: UnsafeRawBufferPointer) -> Bool {
        guard let header = unsafe InnerPacket(packet), header.length > pathLimit, header.mustNotFragment else {
            return false
        }
        unsafe io.refuse(packet, .packetTooBig(mtu: pathLimit))
        return true
    }

    /// Sends the device's own messages (handshakes, keepalives, cookie replies, packets that waited for keys) and hands its
    /// events to the policy, until there are none.
    package mutating func deliver<Policy: TunnelPolicy & ~Copyable>(
        _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) {
        while device.hasOutputs || device.hasEvents {
            let outputs = device.drainOutputs()
            for output in outputs {
                policy.willSend(output, &self, now: now)
                send(output.bytes, on: output.path)
            }
            let events = device.drainEvents()
            for event in events { policy.happened(event, &self, now: now) }
        }
    }

    /// The relay at `index`; nil, and counted, while it is down.
    private func route(_ index: UInt8) -> RelayRoute? {
        if Int(index) < relays.count, let route = relays[Int(index)] { return route }
        TunnelCounters.add(io.counters.unrelayed)
        return nil
    }

    /// Sends one datagram of the control kind on `path`.
    package mutating func send(_ bytes: [UInt8], on path: Path) {
        switch path {
        case .direct(let socket, let endpoint): sendRaw(bytes, to: endpoint, socket: socket)
        case .relayed(let relay, let agent):
            guard let route = route(relay), let buffer = unsafe reserve(bytes.count + RelayRoute.headerSize) else {
                return
            }
            unsafe route.writeHeader(agent, to: buffer)
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[RelayRoute.headerSize...]).copyBytes(from: bytes)
            unsafe commit(buffer, bytes.count + RelayRoute.headerSize, to: relay, route)
        }
    }

    /// Makes the first `length` bytes of what was reserved a datagram to the relay, or a frame on its stream.
    private mutating func commit(
        _ buffer: UnsafeMutableRawBufferPointer, _ length: Int, to relay: UInt8, _ route: RelayRoute
    ) {
        guard route.isStream else {
            return sending.commit(length, to: route.endpoint, socket: Self.socket(for: route.endpoint.address))
        }
        guard let gate = io.streams else { return }
        unsafe streamRun.add(UnsafeRawBufferPointer(rebasing: buffer[..<length]), relay: relay, to: gate)
    }

    /// Sends bytes as they are, without a relay header.
    package mutating func sendRaw(_ bytes: [UInt8], to endpoint: Endpoint, socket: UInt8? = nil) {
        guard let buffer = unsafe reserve(bytes.count) else {
            TunnelCounters.add(io.counters.unsent)
            return
        }
        unsafe buffer.copyBytes(from: bytes)
        sending.commit(bytes.count, to: endpoint, socket: socket ?? Self.socket(for: endpoint.address))
    }

    /// Room for a datagram; flushes first when there is none. Nil when the socket's buffer is full too.
    private mutating func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer? {
        if let buffer = unsafe sending.reserve(count) { return unsafe buffer }
        flush()
        return unsafe sending.reserve(count)
    }

    /// Sends what is ready. What a full socket does not take is kept, for the next flush.
    mutating func flush() {
        streamRun.flush(to: io.streams)
        guard !sending.isEmpty else { return }
        let result = sending.flush(through: io.sockets.read { $0.table } ?? SocketTable())
        TunnelCounters.add(io.counters.unsent, result.dropped)
    }

    /// Whether a full socket has kept something back.
    var hasUnsent: Bool { !sending.isEmpty }
}
