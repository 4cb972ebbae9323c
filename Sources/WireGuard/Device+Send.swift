import Addressing
import Sodium
package import Timing

extension Device {
    /// Seals an inner packet for the peer that its destination belongs to.
    ///
    /// Writes the datagram to `output`, behind `relayHeadroom` bytes when the peer's path is relayed, which needs room for 32
    /// bytes more than the padded packet and the headroom; `inner` may lie where the padded packet will be, else they must
    /// not overlap. Where there is no session, the packet is copied to wait for one, and
    /// the handshake is in the outputs; also after `.sealed` there may be outputs (a rekey).
    package mutating func encapsulate(
        _ inner: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, relayHeadroom: Int = 0,
        now: MonotonicTime, wall: WallTime
    ) -> Encapsulated {
        publishRoutes()
        switch unsafe plane.seal(inner, into: output, relayHeadroom: relayHeadroom, isShared: true, now: now) {
        case .sealed(let peer, let path, let length, let wantsRekey):
            let id = peer.id
            noteSent(id, wantsRekey: wantsRekey, now: now, wall: wall)
            return .sealed(id, path, length: length)
        case .waits(let peer):
            guard let pointer = unsafe peers.pointer(peer.id) else { return dropped(.noAllowedIP) }
            return unsafe queue(inner, &pointer.pointee, now, wall)
        case .tooLarge(let limit): return .tooLarge(limit: limit)
        case .dropped(let reason): return dropped(reason)
        }
    }

    /// Keeps a packet until there is a session, and asks for one.
    private mutating func queue(
        _ inner: UnsafeRawBufferPointer, _ peer: inout Peer, _ now: MonotonicTime, _ wall: WallTime
    ) -> Encapsulated {
        guard peer.path != nil else { return dropped(.noPath) }
        if let packet = unsafe InnerPacket(inner), packet.length > peer.pathLimit, packet.mustNotFragment {
            return .tooLarge(limit: peer.pathLimit)
        }
        if unsafe !peer.queue.append(inner) { count(.queueOverflow) }
        initiate(&peer, isRetry: false, now, wall)
        reschedule(&peer)
        return .queued(peer.id)
    }

    /// Takes note of packets that a packet thread has sealed for a peer: its timers, and new keys in time
    /// (WireGuard paper 6.2). Does nothing for a peer that is gone.
    package mutating func noteSent(_ id: PeerID, wantsRekey: Bool, now: MonotonicTime, wall: WallTime) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        if wantsRekey {
            unsafe pointer.pointee.keypairs.current?.toldRekey(now)
            unsafe initiate(&pointer.pointee, isRetry: false, now, wall)
        }
        unsafe reschedule(&pointer.pointee)
    }

    /// Looks at a peer's timers again in a second: packet threads don't tell of every packet (`PeerLink.tellInterval`).
    package mutating func watch(_ id: PeerID, now: MonotonicTime) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        unsafe pointer.pointee.timers.lookAgain = now + .seconds(1)
        unsafe reschedule(&pointer.pointee)
    }

    private mutating func dropped(_ reason: DropReason) -> Encapsulated {
        count(reason)
        return .dropped(reason)
    }

    /// The size of a packet with its padding: a multiple of 16, but not beyond the MTU (WireGuard paper 5.4.6).
    func paddedSize(_ size: Int) -> Int { min((size + 15) & ~15, max(size, configuration.mtu)) }

    /// Sends an empty packet to the peer, or starts the handshake that this needs. Does nothing for a peer that is gone.
    package mutating func sendKeepalive(_ id: PeerID, now: MonotonicTime, wall: WallTime) {
        guard localKey != nil, let pointer = unsafe peers.pointer(id) else { return }
        unsafe sendKeepalive(&pointer.pointee, now, wall)
        unsafe reschedule(&pointer.pointee)
    }

    mutating func sendKeepalive(_ peer: inout Peer, _ now: MonotonicTime, _ wall: WallTime) {
        if !peer.queue.isEmpty {
            flush(&peer, now, wall)
        } else if let keypair = peer.keypairs.current, keypair.canSend(now) {
            let empty = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
            unsafe emitSealed(empty, .keepalive, keypair, &peer, now, wall)
        } else {
            initiate(&peer, isRetry: false, now, wall)
        }
    }

    /// Sends the packets that waited for a session.
    mutating func flush(_ peer: inout Peer, _ now: MonotonicTime, _ wall: WallTime) {
        if peer.queue.isEmpty { return }
        guard let keypair = peer.keypairs.current, keypair.canSend(now) else {
            initiate(&peer, isRetry: false, now, wall)
            return
        }
        for packet in peer.queue.takeAll() {
            unsafe packet.withUnsafeBytes { unsafe emitSealed($0, .data, keypair, &peer, now, wall) }
        }
    }

    private mutating func emitSealed(
        _ inner: UnsafeRawBufferPointer, _ kind: Output.Kind, _ keypair: Keypair, _ peer: inout Peer,
        _ now: MonotonicTime, _ wall: WallTime
    ) {
        let padded = paddedSize(inner.count)
        var message = [UInt8](repeating: 0, count: padded + TransportHeader.overhead)
        let length = unsafe message.withUnsafeMutableBytes {
            unsafe keypair.seal(inner, padded: padded, into: $0, isShared: true)
        }
        guard length != nil else { return }
        emit(message, kind, to: &peer, on: peer.path)
        peer.link.noteSent(message.count, carriesData: kind == .data, now)
        if keypair.isDueForRekey(now) {
            keypair.toldRekey(now)
            initiate(&peer, isRetry: false, now, wall)
        }
    }
}
