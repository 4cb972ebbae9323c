package import Addressing
import Sodium
package import Timing

extension Device {
    /// Opens a datagram in place, and does what it asks for.
    ///
    /// Whatever is not authentic is counted and changes nothing. After any result there may be outputs (a response, a
    /// cookie reply, packets that waited) and events.
    package mutating func decapsulate(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, now: MonotonicTime, wall: WallTime
    ) -> Decapsulated {
        guard localKey != nil else { return dropped(.noPrivateKey) }
        let message = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(datagram))
        switch MessageType(message) {
        case .transport: return unsafe receiveTransport(datagram, path, now, wall)
        case .initiation, .response: return receiveHandshake(message, path, now, wall)
        case .cookieReply: return receiveCookieReply(message, now)
        case nil: return dropped(.malformedMessage)
        }
    }

    mutating func dropped(_ reason: DropReason) -> Decapsulated {
        count(reason)
        return .dropped(reason)
    }

    private mutating func receiveTransport(
        _ datagram: UnsafeMutableRawBufferPointer, _ path: Path, _ now: MonotonicTime, _ wall: WallTime
    ) -> Decapsulated {
        publishRoutes()
        let opened = unsafe plane.open(datagram, now: now)
        guard let id = opened.peer?.id else { return dropped(opened.dropped ?? .malformedMessage) }
        if let index = opened.confirms { confirm(index, now: now, wall: wall) }
        noteReceived(id, on: path, wantsRekey: opened.wantsRekey, now: now, wall: wall)
        if let reason = opened.dropped { return dropped(reason) }
        return opened.packet.isEmpty ? .keepalive(id) : .packet(id, opened.packet)
    }

    /// Takes note of authentic packets of a peer that a packet thread has opened: its path, its timers, and new keys before
    /// the old ones end. Does nothing for a peer that is gone.
    package mutating func noteReceived(
        _ id: PeerID, on path: Path, wantsRekey: Bool, now: MonotonicTime, wall: WallTime
    ) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        unsafe roam(&pointer.pointee, to: path)
        if wantsRekey {
            unsafe pointer.pointee.keypairs.current?.toldRekeyOnReceive()
            unsafe initiate(&pointer.pointee, isRetry: false, now, wall)
        }
        unsafe reschedule(&pointer.pointee)
    }

    /// Makes the session with this index, whose first packet has come, the one that seals. Does nothing when it is so.
    package mutating func confirm(_ index: UInt32, now: MonotonicTime, wall: WallTime) {
        let slot = indices.slot(of: index)
        guard slot >= 0 else { return }
        let pointer = unsafe peers.pointer(slot)
        unsafe confirm(index, &pointer.pointee, now, wall)
    }

    private mutating func confirm(_ index: UInt32, _ peer: inout Peer, _ now: MonotonicTime, _ wall: WallTime) {
        guard let next = peer.keypairs.next, next.localIndex == index else { return }
        next.toldConfirmed()
        let ended = peer.keypairs.confirmNext(now: now)
        publish(&peer)
        for keypair in ended { forget(keypair) }
        completeHandshake(&peer, asInitiator: false, wall)
        flush(&peer, now, wall)
        reschedule(&peer)
    }

    /// Notes an authentic handshake message.
    mutating func received(_ size: Int, _ peer: inout Peer, _ path: Path, _ now: MonotonicTime) {
        peer.link.noteReceived(size, carriesData: false, now)
        roam(&peer, to: path)
    }

    private mutating func roam(_ peer: inout Peer, to path: Path) {
        guard configuration.roaming == .follow, peer.path != path else { return }
        peer.path = path
        publish(&peer)
    }
}
