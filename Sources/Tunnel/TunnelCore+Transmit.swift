package import Addressing
import Glibc
import Linux
package import Timing
import Transport
import Tun
import WireGuard

// TUN to UDP.
extension TunnelCore {
    /// How many frames are read before the loop looks at its other descriptors: up to 2 MB of a bulk flow.
    static var framesPerTurn: Int { 32 }

    /// Reads what the pod sends, seals it and sends it.
    ///
    /// - Throws: when the device is gone (EBADFD) or otherwise unusable.
    mutating func transmit<Policy: TunnelPolicy & ~Copyable>(
        _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) throws(SystemError) {
        let buffer = unsafe frame.bytes(frameBuffer)
        for _ in 0..<Self.framesPerTurn {
            let length = unsafe tun.read(into: buffer)
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
                while let packet = unsafe splitter.next(paddingLimit: mtu) {
                    // The rest of a segmented run is as large: one answer is enough for all of it.
                    if packet.count > pathLimit, unsafe refuseOversized(packet) { break }
                    unsafe transmit(packet, &policy, now: now, wall: wall)
                }
            } catch { counters.malformedFrames &+= 1 }
        }
        flush()
    }

    /// Seals one packet of the pod, padded behind its IP length, into the send batch.
    package mutating func transmit<Policy: TunnelPolicy & ~Copyable>(
        _ packet: UnsafeRawBufferPointer, _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) {
        guard let buffer = unsafe reserve(packet.count &+ Self.sealingRoom) else {
            counters.sendErrors &+= 1
            return
        }
        let result = unsafe device.encapsulate(
            packet, into: buffer, relayHeadroom: RelayRoute.headerSize, now: now, wall: wall)
        switch result {
        case .sealed(let peer, .direct(let socket, let endpoint), let length):
            sending.commit(length, to: endpoint, socket: socket)
            policy.sent(peer, now: now)
        case .sealed(let peer, .relayed(let relay, let agent), let length):
            policy.sent(peer, now: now)
            guard let route = route(relay) else { return }
            unsafe Self.writeHeader(route, agent, to: buffer)
            sending.commit(
                length &+ RelayRoute.headerSize, to: route.endpoint, socket: Self.socket(for: route.endpoint.address))
        case .queued(let peer): policy.sent(peer, now: now)
        case .dropped(.noAllowedIP): unsafe policy.unroutable(packet, &self, now: now)
        case .dropped: break
        }
    }

    /// What sealing adds at most: WireGuard's header and tag, padding, and a relay header.
    private static var sealingRoom: Int { 32 + 16 + RelayRoute.headerSize }

    /// The relay at `index`; nil, and counted, while it is down.
    private mutating func route(_ index: UInt8) -> RelayRoute? {
        if Int(index) < relays.count, let route = relays[Int(index)] { return route }
        counters.noRelay &+= 1
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
            unsafe Self.writeHeader(route, agent, to: buffer)
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[RelayRoute.headerSize...]).copyBytes(from: bytes)
            sending.commit(
                bytes.count + RelayRoute.headerSize, to: route.endpoint,
                socket: Self.socket(for: route.endpoint.address))
        }
    }

    /// Sends bytes as they are, without a relay header.
    package mutating func sendRaw(_ bytes: [UInt8], to endpoint: Endpoint, socket: UInt8? = nil) {
        guard let buffer = unsafe reserve(bytes.count) else {
            counters.sendErrors &+= 1
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

    mutating func flush() {
        guard !sending.isEmpty else { return }
        let result = sending.flush(through: sockets)
        counters.sendErrors &+= UInt64(result.dropped)
        blockedSocket = result.blocked
    }

    private static func writeHeader(_ route: RelayRoute, _ agent: AgentID, to buffer: UnsafeMutableRawBufferPointer) {
        unsafe buffer.storeBytes(of: route.prefix.bigEndian, as: UInt32.self)
        unsafe buffer.storeBytes(of: agent.high.bigEndian, toByteOffset: 4, as: UInt64.self)
        unsafe buffer.storeBytes(of: agent.low.bigEndian, toByteOffset: 12, as: UInt64.self)
    }
}

extension TunnelCore {
    /// Answers a packet of the pod that can't be taken with an ICMP error, where one is allowed.
    package func refuse(_ packet: UnsafeRawBufferPointer, _ error: ICMPError) {
        guard let answer = unsafe error.answer(to: packet) else { return }
        _ = unsafe answer.withUnsafeBytes { unsafe tun.write($0) }
    }
    /// Answers a packet that is larger than any path is known to carry with "packet too big", which makes the pod's sender
    /// use smaller ones. False for one that may be sent all the same: IPv4 without don't-fragment is fragmented outside, and
    /// only padding can make a packet that fits look too large.
    func refuseOversized(_ packet: UnsafeRawBufferPointer) -> Bool {
        guard packet.count >= 20 else { return false }
        let isIPv6 = unsafe packet[0] >> 4 == 6
        let length =
            unsafe isIPv6
            ? 40 + (Int(packet[4]) << 8 | Int(packet[5])) : Int(packet[2]) << 8 | Int(packet[3])
        guard length > pathLimit, unsafe isIPv6 || packet[6] & 0x40 != 0 else { return false }
        unsafe refuse(packet, .packetTooBig(mtu: pathLimit))
        return true
    }
}
