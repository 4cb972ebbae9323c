import Addressing
import Noise
import Sodium
package import Timing

extension Device {
    /// Starts a handshake with the peer now, unless one was sent in the last 5 s: then a little later.
    package mutating func startHandshake(_ id: PeerID, now: MonotonicTime, wall: WallTime) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        unsafe initiate(&pointer.pointee, isRetry: false, now, wall)
        unsafe reschedule(&pointer.pointee)
    }

    // MARK: As initiator

    /// Sends an initiation. At most one handshake message goes to a peer in 5 s; what is asked for sooner is put off.
    mutating func initiate(_ peer: inout Peer, isRetry: Bool, _ now: MonotonicTime, _ wall: WallTime) {
        guard localKey != nil, peer.staticStatic != nil else {
            count(localKey == nil ? .noPrivateKey : .invalidHandshake)
            return
        }
        if !isRetry { peer.timers.attemptingSince = now }
        if let last = peer.timers.lastHandshakeSent, now.since(last) < Timers.rekeyTimeout {
            if peer.timers.retransmitHandshake == .never {
                peer.timers.retransmitHandshake = last + Timers.rekeyTimeout + jitter()
            }
            return
        }
        forgetInitiation(of: &peer)
        let index = indices.allocate(peer.id.index, using: &random)
        let stamp = TAI64N(unixSeconds: wall.seconds, nanoseconds: wall.nanoseconds).after(peer.sentTimestamp)
        var message: [UInt8] = []
        message.reserveCapacity(Initiation.size)
        message.append(littleEndian: MessageType.initiation.rawValue)
        message.append(littleEndian: index)
        let (prologue, payload) = (Self.identifier, stamp.bytes)
        do throws(NoiseError) {
            let state = try HandshakeState.Initiator(
                local: localKey!, remote: peer.publicKey, staticStatic: peer.staticStatic!, ephemeral: newSecret(),
                prologue: unsafe prologue.span.bytes, payload: unsafe payload.span.bytes, message: &message)
            peer.initiation = PendingInitiation(index: index, state: state)
        } catch {
            indices.remove(index)
            count(error == .secretMemoryExhausted ? .outOfMemory : .invalidHandshake)
            return
        }
        peer.sentTimestamp = stamp
        peer.cookies.appendMACs(to: &message, now: now)
        if !peer.timers.isAttempting { events.append(.handshakeStarted(peer.id)) }
        peer.link.noteSent(peer.path == nil ? 0 : message.count, carriesData: false, now)
        peer.timers.handshakeInitiated(now, jitter: jitter(), repeats: configuration.repeatsHandshakes && !isRetry)
        peer.initiation?.message = message
        emit(message, .initiation, to: &peer, on: peer.path)
    }

    /// Sends the initiation once more that was not answered yet.
    mutating func repeatInitiation(_ peer: inout Peer, _ now: MonotonicTime) {
        guard let message = peer.initiation?.message else { return }
        peer.link.noteSent(peer.path == nil ? 0 : message.count, carriesData: false, now)
        emit(message, .initiation, to: &peer, on: peer.path)
    }

    private mutating func receiveResponse(
        _ message: RawSpan, _ path: Path, _ now: MonotonicTime, _ wall: WallTime
    ) -> Decapsulated {
        let receiver = message.littleEndian32(at: Response.receiverOffset)
        let slot = indices.slot(of: receiver)
        guard slot >= 0 else { return dropped(.unexpectedResponse) }
        let pointer = unsafe peers.pointer(slot)
        return unsafe receiveResponse(message, receiver, &pointer.pointee, path, now, wall)
    }

    private mutating func receiveResponse(
        _ message: RawSpan, _ receiver: UInt32, _ peer: inout Peer, _ path: Path, _ now: MonotonicTime,
        _ wall: WallTime
    ) -> Decapsulated {
        guard let index = peer.initiation?.index, index == receiver else { return dropped(.unexpectedResponse) }
        let keypair: Keypair
        do throws(NoiseError) {
            let keys = try peer.finishInitiation(response: message.extracting(Response.noise), local: localKey!)
            keypair = Keypair(
                keys, isInitiator: true, localIndex: index,
                remoteIndex: message.littleEndian32(at: Response.senderOffset), created: now,
                rekeyAfter: rekeyAge(of: peer), link: peer.link)
        } catch { return dropped(error == .secretMemoryExhausted ? .outOfMemory : .invalidHandshake) }
        // The index is the session's now.
        peer.initiation = nil
        let ended = peer.keypairs.add(initiated: keypair, now: now)
        remember(keypair)
        received(message.byteCount, &peer, path, now)
        publish(&peer)
        for keypair in ended { forget(keypair) }
        peer.timers.sessionDerived(now)
        completeHandshake(&peer, asInitiator: true, wall)
        // The responder may not send until we do: packets that waited, else an empty one.
        sendKeepalive(&peer, now, wall)
        reschedule(&peer)
        return .handshake(peer.id, .response)
    }

    /// At what age we ask for new keys after those that come now. Where both ends initiated at once, both would again, for
    /// ever: the one with the greater key waits for the other.
    private func rekeyAge(of peer: borrowing Peer) -> Interval {
        guard peer.keypairs.next != nil, let publicKey, peer.publicKey < publicKey else {
            return Timers.rekeyAfterTime
        }
        return Timers.rekeyAfterTime + Timers.rekeyYieldTime
    }

    /// The session that packets are sealed with is confirmed.
    mutating func completeHandshake(_ peer: inout Peer, asInitiator: Bool, _ wall: WallTime) {
        peer.timers.handshakeCompleted()
        peer.answer = nil
        peer.lastHandshake = wall
        // An initiation that crossed with theirs is of no more use; its secrets go.
        forgetInitiation(of: &peer)
        events.append(.handshakeCompleted(peer.id, asInitiator: asInitiator))
    }

    // MARK: As responder

    /// Takes an initiation or response, after its MACs.
    mutating func receiveHandshake(
        _ message: RawSpan, _ path: Path, _ now: MonotonicTime, _ wall: WallTime
    ) -> Decapsulated {
        guard checker!.hasValidMAC1(message) else { return dropped(.invalidMAC1) }
        if load.noteMessage(now) {
            let source = PathSource(path)
            guard checker!.hasValidMAC2(message, from: source, now: now) else {
                replyWithCookie(to: message, source, path, now)
                return dropped(.cookieRequired)
            }
            guard limiter.allow(source.limited, now: now) else { return dropped(.rateLimited) }
        }
        return message.byteCount == Initiation.size
            ? receiveInitiation(message, path, now, wall) : receiveResponse(message, path, now, wall)
    }

    private mutating func receiveInitiation(
        _ message: RawSpan, _ path: Path, _ now: MonotonicTime, _ wall: WallTime
    ) -> Decapsulated {
        let initiation = message.extracting(Initiation.noise)
        let prologue = Self.identifier
        do throws(NoiseError) {
            var responder = try HandshakeState.Responder(
                initiation: initiation, local: localKey!, prologue: unsafe prologue.span.bytes)
            guard let slot = slots[responder.remoteStatic] else { return dropped(.unknownPeer) }
            let pointer = unsafe peers.pointer(slot)
            guard unsafe pointer.pointee.staticStatic != nil else { return dropped(.invalidHandshake) }
            let payload = try unsafe responder.readPayload(
                initiation: initiation, staticStatic: pointer.pointee.staticStatic!)
            guard let stamp = TAI64N(payload) else { return dropped(.invalidHandshake) }
            let sender = message.littleEndian32(at: Initiation.senderOffset)
            if let reason = unsafe admit(stamp, &pointer.pointee, now) {
                if unsafe stamp == pointer.pointee.greatestTimestamp {
                    unsafe repeatResponse(&pointer.pointee, to: sender, path, now)
                }
                return dropped(reason)
            }
            unsafe received(message.byteCount, &pointer.pointee, path, now)
            unsafe respond(responder, to: sender, &pointer.pointee, path, now)
            unsafe reschedule(&pointer.pointee)
            return unsafe .handshake(pointer.pointee.id, .initiation)
        } catch { return dropped(error == .secretMemoryExhausted ? .outOfMemory : .invalidHandshake) }
    }

    /// Takes note of an authentic initiation; or why it is not to be answered.
    private func admit(_ stamp: TAI64N, _ peer: inout Peer, _ now: MonotonicTime) -> DropReason? {
        guard stamp > peer.greatestTimestamp else { return .replayedInitiation }
        if let last = peer.initiationConsumed, now.since(last) < Self.initiationInterval { return .initiationFlood }
        peer.greatestTimestamp = stamp
        peer.initiationConsumed = now
        return nil
    }

    /// Answers an initiation on the path it came on, and keeps the session for when the initiator uses it.
    private mutating func respond(
        _ responder: consuming HandshakeState.Responder, to sender: UInt32, _ peer: inout Peer, _ path: Path,
        _ now: MonotonicTime
    ) {
        let index = indices.allocate(peer.id.index, using: &random)
        var message: [UInt8] = []
        message.reserveCapacity(Response.size)
        message.append(littleEndian: MessageType.response.rawValue)
        message.append(littleEndian: index)
        message.append(littleEndian: sender)
        let keypair: Keypair
        do throws(NoiseError) {
            let ephemeral = try newSecret()
            let keys = try responder.respond(
                ephemeral: ephemeral, presharedKey: peer.presharedKey, payload: RawSpan(), message: &message)
            keypair = Keypair(
                keys, isInitiator: false, localIndex: index, remoteIndex: sender, created: now, link: peer.link)
        } catch {
            indices.remove(index)
            count(error == .secretMemoryExhausted ? .outOfMemory : .invalidHandshake)
            return
        }
        let ended = peer.keypairs.add(answered: keypair)
        remember(keypair)
        for keypair in ended { forget(keypair) }
        peer.cookies.appendMACs(to: &message, now: now)
        peer.timers.lastHandshakeSent = now
        peer.timers.sessionDerived(now)
        peer.link.noteSent(message.count, carriesData: false, now)
        if configuration.repeatsHandshakes { peer.answer = Answer(receiver: sender, message: message) }
        emit(message, .response, to: &peer, on: path)
    }

    /// The initiation that was answered last came again, and the session is not used yet: so the response may be lost. That
    /// changes nothing here, whoever sent it, and costs less than what came.
    private mutating func repeatResponse(
        _ peer: inout Peer, to sender: UInt32, _ path: Path, _ now: MonotonicTime
    ) {
        guard let answer = peer.answer, answer.receiver == sender, answer.repetitions < Timers.repetitions.count + 1,
            peer.keypairs.next != nil
        else { return }
        peer.answer?.repetitions += 1
        peer.link.noteSent(answer.message.count, carriesData: false, now)
        emit(answer.message, .response, to: &peer, on: path)
    }

    private mutating func newSecret() throws(NoiseError) -> SecretKey {
        do { return try SecretKey(using: &random) } catch { throw .secretMemoryExhausted }
    }

    // MARK: Cookies

    private mutating func replyWithCookie(
        to message: RawSpan, _ source: PathSource, _ path: Path, _ now: MonotonicTime
    ) {
        let sender = message.littleEndian32(at: Initiation.senderOffset)
        guard
            let reply = try? checker!.reply(to: message, receiver: sender, from: source, now: now, using: &random)
        else {
            count(.outOfMemory)
            return
        }
        outputs.append(Output(peer: nil, path: path, bytes: reply, kind: .cookieReply))
    }

    mutating func receiveCookieReply(_ message: RawSpan, _ now: MonotonicTime) -> Decapsulated {
        let slot = indices.slot(of: CookieReply(message).receiver)
        guard slot >= 0 else { return dropped(.invalidCookieReply) }
        let pointer = unsafe peers.pointer(slot)
        guard unsafe pointer.pointee.cookies.consume(message, now: now) else { return dropped(.invalidCookieReply) }
        return unsafe .cookie(pointer.pointee.id)
    }
}
