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
        guard localKey != nil else { return dropped(.noPrivateKey) }
        guard let packet = unsafe InnerPacket(inner) else { return dropped(.malformedInnerPacket) }
        let slot = allowedIPs.lookup(
            high: packet.destination.high, low: packet.destination.low, isIPv6: packet.isIPv6)
        guard slot >= 0 else { return dropped(.noAllowedIP) }
        let pointer = unsafe peers.pointer(slot)
        var target = unsafe output
        if unsafe pointer.pointee.path?.isRelayed == true, relayHeadroom <= output.count {
            unsafe target = UnsafeMutableRawBufferPointer(rebasing: output[relayHeadroom...])
        }
        return unsafe encapsulate(inner, to: &pointer.pointee, into: target, now, wall)
    }

    private mutating func encapsulate(
        _ inner: UnsafeRawBufferPointer, to peer: inout Peer, into output: UnsafeMutableRawBufferPointer,
        _ now: MonotonicTime, _ wall: WallTime
    ) -> Encapsulated {
        guard let path = peer.path else { return dropped(.noPath) }
        let padded = paddedSize(inner.count)
        guard output.count >= padded + TransportHeader.overhead else { return dropped(.bufferTooSmall) }
        if let keypair = unsafe peer.keypairs.sealing,
            let length = unsafe keypair._withUnsafeGuaranteedRef({ keypair in
                keypair.canSend(now) ? unsafe keypair.seal(inner, padded: padded, into: output) : nil
            })
        {
            peer.sentBytes += UInt64(length)
            unsafe keypair._withUnsafeGuaranteedRef { sentTransport($0, carriesData: true, &peer, now, wall) }
            reschedule(&peer)
            return .sealed(peer.id, path, length: length)
        }
        if unsafe !peer.queue.append(inner) { count(.queueOverflow) }
        initiate(&peer, isRetry: false, now, wall)
        reschedule(&peer)
        return .queued(peer.id)
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
        let length = unsafe message.withUnsafeMutableBytes { unsafe keypair.seal(inner, padded: padded, into: $0) }
        guard length != nil else { return }
        emit(message, kind, to: &peer, on: peer.path)
        sentTransport(keypair, carriesData: kind == .data, &peer, now, wall)
    }

    /// What follows from sending a transport data message: timers, and new keys in time (WireGuard paper 6.2).
    private mutating func sentTransport(
        _ keypair: Keypair, carriesData: Bool, _ peer: inout Peer, _ now: MonotonicTime, _ wall: WallTime
    ) {
        peer.timers.authenticatedPacketSent(now)
        if carriesData, peer.timers.newHandshake == .never {
            peer.timers.newHandshake = now + Timers.keepaliveTimeout + Timers.rekeyTimeout + jitter()
        }
        if keypair.sent > Keypair.rekeyAfterMessages
            || (keypair.isInitiator && now.since(keypair.created) >= keypair.rekeyAfter)
        {
            initiate(&peer, isRetry: false, now, wall)
        }
    }
}
