import Addressing
import Timing

// Simultaneous opening: both sides send to each other's candidates at an agreed time.
extension Engine {
    /// Begins the rounds of pings.
    ///
    /// The side that was called answers, and sends to a NATed peer only when its answer has arrived there and the peer has
    /// sent first. It makes the entry in its own NAT before that, with a packet that dies on the way: whatever comes first,
    /// no NAT hears from a stranger.
    mutating func beginPunch(_ peer: PeerState, answering: Bool, now: MonotonicTime) {
        if let punch = peer.punch, now.since(punch.began) < .seconds(1), punch.next != .never {
            return
        }
        let waits = answering && peer.behavior.remapsAfterUnsolicited != false
        var start = now
        if waits {
            let trip = ((relayTrip ?? Limits.relayTripUnknown) + (peer.relayTrip ?? Limits.relayTripUnknown)) / 2
            start = now + min(trip, Limits.longestAgreedWait)
        }
        let yields = yieldsToPings(of: peer)
        if yields {
            // What is known to be of no use is only harmful.
            let isKnown = behavior.filtering != .unknown && peer.behavior.filtering != .unknown
            start = isKnown ? .never : start + Limits.yieldToPeer
        }
        // The side with the lower id, or the only one that can, escapes first.
        let goesFirst = localID < peer.id || peer.extraSockets == 0
        peer.punch = Punch(
            quick: .init(at: now), careful: .init(at: start),
            escapeAt: start + Limits.escapeAfter * (goesFirst ? 1 : 2), began: now, helpsPeer: !peer.needsDirect)
        if let direct = peer.direct, peer.degradedSince == nil { ping(peer, .direct(direct.route), now: now) }
        if waits, !yields { sendOpeners(peer) }
        if let punch = peer.punch { runRounds(peer, punch, now: now) }
    }

    /// Whether what we send first would take a port that the peer does not know, while the one that it knows lets it in.
    private func yieldsToPings(of peer: PeerState) -> Bool {
        behavior.hasManyMappings && peer.behavior.hasOneMapping && peer.behavior.mapping != .none
            && peer.behavior.filtersByPort
            && (behavior.filtering == .endpointIndependent || behavior.filtering == .unknown)
    }

    /// Whether a ping that is too early can do harm there.
    private func isCareful(_ remote: PeerState.Remote) -> Bool {
        remote.kind == .serverReflexive && !remote.route.remote.address.isIPv6
    }

    private mutating func sendOpeners(_ peer: PeerState) {
        let targets = peer.remotes.filter { isCareful($0) && $0.route.socket.isHome }
        guard !targets.isEmpty else { return }
        let bytes = peer.seal.seal(.ping(transaction: random.next()))
        for remote in targets { send(bytes, .direct(remote.route), SendOptions(hops: Limits.openerHops)) }
    }

    mutating func runRounds(_ peer: PeerState, _ begun: Punch, now: MonotonicTime) {
        var punch = begun
        let isQuickDue = punch.quick.next <= now
        let isCarefulDue = punch.careful.next <= now
        punch.quick.advance(past: now)
        punch.careful.advance(past: now)
        let isEscapeDue = punch.escapeAt <= now
        if isEscapeDue { punch.escapeAt = .never }
        peer.punch = punch
        for index in peer.remotes.indices {
            let remote = peer.remotes[index]
            let isCareful = isCareful(remote)
            guard isCareful ? isCarefulDue : isQuickDue, !remote.isMeasurement,
                remote.route.socket.isHome || ledger.isAdopted(remote.route.socket),
                peer.needsDirect || remote.tier < peer.direct?.tier ?? 0 || punch.helpsPeer
            else { continue }
            ping(peer, index, now: now)
        }
        if isEscapeDue { suspectRemapping(peer, now: now) }
        if peer.punch?.next == .never { peer.punch = nil }
    }
}
