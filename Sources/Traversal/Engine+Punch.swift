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
        var punch = Punch(now: now)
        punch.careful = .init(at: start)
        punch.helpsPeer = !peer.needsDirect
        if let turn = escapeTurn(peer) {
            punch.escapeAt = start + Limits.escapeAfter * turn.first
            punch.escapeSpacing = Limits.escapeAfter * turn.every
        }
        peer.punch = punch
        if let direct = peer.direct, peer.degradedSince == nil { ping(peer, .direct(direct.route), now: now) }
        if waits, !yields { sendOpeners(peer) }
        if let punch = peer.punch { runRounds(peer, punch, now: now) }
    }

    /// When it is on us to try a fresh socket: the side with the lower id begins, if both can. Where one NAT has several
    /// addresses only the other side's server knows how its socket is seen.
    private func escapeTurn(_ peer: PeerState) -> (first: UInt64, every: UInt64)? {
        if peer.behavior.hasManyMappings { return (1, 1) }
        let (isPooled, peerIsPooled) = (isPooled, peer.isPooled)
        if isPooled, !peerIsPooled, peer.extraSockets > 0 { return nil }
        if peer.extraSockets == 0 || peerIsPooled && !isPooled { return (1, 1) }
        return (localID < peer.id ? 1 : 2, 2)
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
        for remote in targets { send(bytes, .direct(remote.route), SendOptions(hops: openerHops)) }
    }

    mutating func runRounds(_ peer: PeerState, _ begun: Punch, now: MonotonicTime) {
        var punch = begun
        let isQuickDue = punch.quick.next <= now
        let isCarefulDue = punch.careful.next <= now
        punch.quick.advance(past: now)
        punch.careful.advance(past: now)
        let isEscapeDue = punch.escapeAt <= now
        if isEscapeDue {
            punch.escapes += 1
            punch.escapeAt = punch.escapes < Limits.escapes ? now + punch.escapeSpacing : .never
        }
        peer.punch = punch
        for index in peer.remotes.indices {
            let remote = peer.remotes[index]
            let isCareful = isCareful(remote)
            guard isCareful ? isCarefulDue : isQuickDue,
                remote.route.socket.isHome || ledger.isAdopted(remote.route.socket),
                peer.needsDirect || remote.tier < peer.direct?.tier ?? 0 || punch.helpsPeer
            else { continue }
            ping(peer, index, now: now)
        }
        if isEscapeDue { suspectRemapping(peer, now: now) }
        if peer.punch?.next == .never { peer.punch = nil }
    }
}
