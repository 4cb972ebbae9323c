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
        guard let base = datagram.baseAddress else { return dropped(.malformedMessage) }
        let header = unsafe TransportHeader(base)
        let slot = indices.slot(of: header.receiver)
        guard slot >= 0 else { return dropped(.unknownReceiver) }
        let pointer = unsafe peers.pointer(slot)
        guard let keypair = unsafe pointer.pointee.keypairs.find(header.receiver) else {
            return dropped(.unknownReceiver)
        }
        let refusal: DropReason? = unsafe keypair._withUnsafeGuaranteedRef { keypair in
            guard keypair.canReceive(now) else { return .expiredKeypair }
            guard unsafe keypair.open(datagram, counter: header.counter) else { return .invalidTransport }
            return keypair.accept(header.counter) ? nil : .replayedCounter
        }
        if let refusal { return dropped(refusal) }
        unsafe receivedTransport(header.receiver, datagram.count, &pointer.pointee, path, now, wall)
        let end = datagram.count - ChaChaPoly.tagSize
        guard end > TransportHeader.size else {
            unsafe reschedule(&pointer.pointee)
            return unsafe .keepalive(pointer.pointee.id)
        }
        unsafe pointer.pointee.timers.dataReceived(now)
        unsafe reschedule(&pointer.pointee)
        let inner = unsafe UnsafeRawBufferPointer(start: base + TransportHeader.size, count: end - TransportHeader.size)
        guard let packet = unsafe InnerPacket(inner) else { return dropped(.malformedInnerPacket) }
        let owner = allowedIPs.lookup(high: packet.source.high, low: packet.source.low, isIPv6: packet.isIPv6)
        guard owner == slot else { return dropped(.disallowedSource) }
        return unsafe .packet(
            pointer.pointee.id, TransportHeader.size..<TransportHeader.size + packet.length)
    }

    /// What follows from an authentic transport data message, empty or not.
    private mutating func receivedTransport(
        _ receiver: UInt32, _ size: Int, _ peer: inout Peer, _ path: Path, _ now: MonotonicTime, _ wall: WallTime
    ) {
        received(size, &peer, path, now)
        if let next = peer.keypairs.next, next.localIndex == receiver {
            for ended in peer.keypairs.confirmNext(now: now) { forget(ended) }
            completeHandshake(&peer, asInitiator: false, wall)
            flush(&peer, now, wall)
        }
        // New keys before the old ones end, where only the other side has something to say (WireGuard paper 6.2).
        if !peer.timers.hasRekeyedOnReceive, let current = unsafe peer.keypairs.sealing,
            unsafe current._withUnsafeGuaranteedRef({
                $0.isInitiator && now.since($0.created) >= Timers.rekeyOnReceiveTime
            })
        {
            peer.timers.hasRekeyedOnReceive = true
            initiate(&peer, isRetry: false, now, wall)
        }
    }

    /// Notes an authentic message of any kind.
    mutating func received(_ size: Int, _ peer: inout Peer, _ path: Path, _ now: MonotonicTime) {
        peer.receivedBytes += UInt64(size)
        if configuration.roaming == .follow { peer.path = path }
        peer.timers.authenticatedPacketReceived(now)
    }
}
