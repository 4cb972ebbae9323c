import Addressing
import Timing

// Keepalives: one way, from the side whose NAT forgets sooner, as rarely as that allows; nothing for a peer that is not used.
extension Engine {
    /// How long our NAT keeps a binding, in seconds, as far as it was measured; 0 when it was not.
    package var bindingSeconds: UInt16 { lifetime.known }

    mutating func startKeeping(_ peer: PeerState, now: MonotonicTime) {
        peer.keeping.unanswered = 0
        scheduleKeeping(peer, now: now)
    }

    /// What the peer says of its NAT.
    mutating func learnBinding(_ seconds: UInt16, of peer: PeerState, now: MonotonicTime) {
        guard seconds != peer.bindingSeconds else { return }
        peer.bindingSeconds = seconds
        if peer.direct != nil { scheduleKeeping(peer, now: now) }
    }

    /// Whether we are the side that sends.
    private func keeps(_ peer: PeerState) -> Bool {
        let (local, remote) = (effective(lifetime.known), effective(peer.bindingSeconds))
        return peer.keeping.sendsAnyway || (local, localID) < (remote, peer.id)
    }

    private func effective(_ seconds: UInt16) -> UInt16 { seconds == 0 ? BindingLifetime.assumed : seconds }

    private func spacing(with peer: PeerState) -> Interval {
        BindingLifetime.spacing(min(effective(lifetime.known), effective(peer.bindingSeconds)))
    }

    private mutating func scheduleKeeping(_ peer: PeerState, now: MonotonicTime) {
        guard let direct = peer.direct else { return }
        var due: MonotonicTime
        if peer.keeping.unanswered > 0 {
            due = now + .seconds(1)
        } else if keeps(peer) {
            due = direct.lastTraffic + spacing(with: peer)
        } else {
            // One may be lost.
            due = direct.heard + spacing(with: peer) * 2 + .seconds(10)
        }
        due = min(due, peer.keeping.stageEnd)
        if let reminder = peer.keeping.reminder { due = min(due, reminder.at) }
        if mayMeasure(peer, now: now) { due = min(due, max(now, quietAt(peer))) }
        peer.keeping.next = due
        touch(peer)
    }

    mutating func keep(_ peer: PeerState, now: MonotonicTime) {
        peer.keeping.next = .never
        if let reminder = peer.keeping.reminder, reminder.at <= now {
            peer.keeping.reminder = nil
            send(peer.seal.seal(.keepalive(transaction: reminder.transaction)), .direct(reminder.route))
        }
        if peer.keeping.stageEnd <= now { measurementEnded(peer, now: now) }
        guard let direct = peer.direct, peer.degradedSince == nil else {
            if let reminder = peer.keeping.reminder { peer.keeping.next = reminder.at }
            return
        }
        if now.since(max(peer.lastSent, peer.lastHeard)) >= Limits.keepsIdlePathFor { return dropDirect(peer) }
        if mayMeasure(peer, now: now), quietAt(peer) <= now { beginMeasurement(peer, now: now) }
        let spacing = spacing(with: peer)
        if keeps(peer) {
            if direct.lastTraffic + spacing <= now {
                send(peer.seal.seal(.keepalive(transaction: 0)), .direct(direct.route))
                peer.direct?.lastTraffic = now
            }
        } else if direct.heard + spacing * 2 + .seconds(10) <= now {
            missKeepalive(peer, direct, now: now)
        }
        scheduleKeeping(peer, now: now)
    }

    /// The peer's keepalives do not come: asks, and in the end looks for a path anew.
    private mutating func missKeepalive(_ peer: PeerState, _ direct: PeerState.Direct, now: MonotonicTime) {
        guard peer.keeping.unanswered < 3 else {
            peer.keeping.unanswered = 0
            peer.keeping.sendsAnyway = true
            dropDirect(peer)
            peer.search.nextCall = now
            sendCall(peer, .wantsAnswer)
            return restartSearch(peer, now: now)
        }
        peer.keeping.unanswered += 1
        ping(peer, .direct(direct.route), now: now)
    }

    // MARK: Being asked

    /// The peer measures its NAT: answers now, and sends once more after so long, to where this came from.
    mutating func remind(_ peer: PeerState, _ transaction: UInt64, _ seconds: UInt16, on way: Way, now: MonotonicTime) {
        guard case .direct(let route) = way, !configuration.policy.refuses(route.remote), seconds <= 600,
            peer.keeping.reminder == nil
        else { return }
        send(peer.seal.seal(.pong(transaction: transaction, observed: route.remote)), way)
        peer.keeping.reminder = (transaction, route, now + .seconds(UInt64(seconds)))
        peer.keeping.next = min(peer.keeping.next, now + .seconds(UInt64(seconds)))
        touch(peer)
    }

    // MARK: Measuring

    /// One measurement at a time, of an idle path that works, from behind a NAT with one mapping.
    private func mayMeasure(_ peer: PeerState, now: MonotonicTime) -> Bool {
        peer.keeping.stage == .none && peer.keeping.socket == nil && lifetime.nextStep != nil && lifetime.retryAt <= now
            && behavior.hasOneMapping && peer.behavior.hasOneMapping && ledger.available > 8
            && !peers.values.contains { $0.keeping.socket != nil }
    }

    private func quietAt(_ peer: PeerState) -> MonotonicTime { max(peer.lastSent, peer.lastHeard) + .seconds(5) }

    private mutating func beginMeasurement(_ peer: PeerState, now: MonotonicTime) {
        guard let seconds = lifetime.nextStep, let socket = open(.probing(peer.id)) else { return }
        peer.keeping.socket = socket
        peer.keeping.seconds = seconds
        peer.keeping.transaction = random.next() | 1
        peer.keeping.stage = .meeting(until: now + .seconds(3))
        ask(socket, .opening(peer.id), now: now)
    }

    /// The server said how the socket is seen: opens toward the peer, and tells it.
    mutating func measurementMapped(_ peer: PeerState, _ mapped: Endpoint, now: MonotonicTime) {
        guard let socket = peer.keeping.socket, let direct = peer.direct else { return }
        let route = Route(socket, direct.route.remote)
        peer.keeping.route = route
        let bytes = peer.seal.seal(.ping(transaction: random.next()))
        let hops = peer.behavior.remapsAfterUnsolicited == false ? nil : Limits.openerHops
        send(bytes, .direct(route), SendOptions(hops: hops))
        sendCall(peer, .isMeasurement, opened: Call.Opened(first: mapped))
        peer.keeping.stage = .asked(until: now + .seconds(3))
    }

    /// A ping of the peer came in on the measuring socket: it is found, and the silence begins.
    mutating func measurementMet(_ peer: PeerState, on way: Way, now: MonotonicTime) {
        guard case .direct(let route) = way, route.socket == peer.keeping.socket,
            case .asked = peer.keeping.stage
        else { return }
        peer.keeping.route = route
        let seconds = peer.keeping.seconds
        let message = ProbeMessage.remind(transaction: peer.keeping.transaction, seconds: seconds)
        send(peer.seal.seal(message), way)
        peer.keeping.stage = .waiting(until: now + .seconds(UInt64(seconds) + 3))
        scheduleKeeping(peer, now: now)
    }

    /// A keepalive came: perhaps the one that was asked for.
    mutating func reminded(_ peer: PeerState, _ transaction: UInt64, on way: Way, now: MonotonicTime) {
        peer.keeping.unanswered = 0
        guard case .direct(let route) = way, route.socket == peer.keeping.socket, transaction != 0,
            transaction == peer.keeping.transaction, case .waiting = peer.keeping.stage
        else {
            if peer.direct != nil { scheduleKeeping(peer, now: now) }
            return
        }
        lifetime.survived(peer.keeping.seconds)
        endMeasurement(peer, now: now)
        sendCall(peer, [])
    }

    private mutating func measurementEnded(_ peer: PeerState, now: MonotonicTime) {
        if case .waiting = peer.keeping.stage {
            lifetime.lapsed(peer.keeping.seconds)
            if lifetime.isComplete { sendCall(peer, []) }
        } else {
            lifetime.postpone(until: now + .seconds(60))
        }
        endMeasurement(peer, now: now)
    }

    private mutating func endMeasurement(_ peer: PeerState, now: MonotonicTime) {
        if let socket = peer.keeping.socket { close(socket) }
        peer.keeping.socket = nil
        peer.keeping.route = nil
        peer.keeping.stage = .none
        if peer.direct != nil { scheduleKeeping(peer, now: now) }
    }
}
