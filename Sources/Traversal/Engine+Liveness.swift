package import Addressing
package import Timing

// Liveness: data says whether a path works, probes only where data is silent, and the relay takes over at once.
extension Engine {
    /// Data went to the peer.
    package mutating func sent(to id: AgentID, now: MonotonicTime) {
        guard let peer = peers[id] else { return }
        peer.lastSent = now
        if peer.usesDirect { peer.direct?.lastTraffic = now }
        wake(peer, now: now)
        var isNew = false
        if peer.mtu?.next == .never {
            peer.mtu?.used(now: now)
            isNew = true
        }
        if peer.awaitingSince == nil {
            peer.awaitingSince = now
            peer.suspicions = 0
            peer.nextWatch = now + patience(with: peer)
            isNew = true
        }
        if peer.direct == nil, peer.search.nextCall == .never {
            restartSearch(peer, now: now)
            isNew = true
        }
        if isNew { touch(peer) }
    }

    /// An authenticated WireGuard packet of the peer came in on `path`.
    package mutating func heard(from id: AgentID, on path: Path, now: MonotonicTime) {
        guard let peer = peers[id] else { return }
        peer.lastHeard = now
        if path == peer.published { trust(peer, now: now) }
        guard case .direct(let index, let source) = path, let socket = ledger.socket(at: index) else { return }
        let route = Route(socket, source)
        if peer.direct?.route == route {
            if peer.degradedSince != nil { directAnswered(peer, now: now) }
            noteTraffic(peer, on: .direct(route), now: now)
        } else if ledger.mayUse(socket, id) {
            carriedElsewhere(peer, route, now: now)
        }
        touch(peer)
    }

    /// Something authentic came in.
    mutating func noteTraffic(_ peer: PeerState, on way: Way, now: MonotonicTime) {
        guard case .direct(let route) = way else { return }
        if peer.direct?.route == route {
            peer.direct?.heard = now
            peer.direct?.lastTraffic = now
            keepingHeard(peer, now: now)
            if peer.degradedSince == nil { trust(peer, now: now) }
        }
        for index in peer.retired.indices where peer.retired[index].socket == route.socket {
            peer.retired[index].until = now + .seconds(30)
        }
    }

    private func trust(_ peer: PeerState, now: MonotonicTime) {
        peer.strikes = 0
        peer.trust(now: now, patience: patience(with: peer))
    }

    /// How long the path in use may be silent while we send before we ask.
    private func patience(with peer: PeerState) -> Interval {
        let bound = bound(of: peer) + .milliseconds(20)
        return max(Limits.suspectAfter, bound) * (1 << UInt64(min(peer.strikes, 5)))
    }

    private func bound(of peer: PeerState) -> Interval {
        if peer.usesDirect, let direct = peer.direct { return direct.roundTrip.upperBound }
        return peer.relay.flatMap { peer.relayRoundTrips[$0]?.upperBound } ?? Limits.relayTripUnknown * 2
    }

    /// Data waits for any answer: asks, and then goes another way.
    mutating func watch(_ peer: PeerState, now: MonotonicTime) {
        peer.nextWatch = .never
        guard let since = peer.awaitingSince, let path = peer.published else { return }
        let patience = patience(with: peer)
        guard now.since(since) >= patience else {
            peer.nextWatch = since + patience
            return
        }
        let limit = max(Limits.degradeAfter, patience + bound(of: peer) + .milliseconds(100))
        if now.since(since) >= limit, peer.suspicions >= 2 { return goElsewhere(peer, now: now) }
        if !path.isRelayed, let route = peer.direct?.route {
            ping(peer, .direct(route), now: now)
        } else {
            for relay in peer.relays { ping(peer, .relayed(relay), now: now) }
        }
        peer.suspicions += 1
        peer.nextWatch = now + Limits.suspectSpacing * (1 << UInt64(min(peer.strikes, 5)))
    }

    private mutating func goElsewhere(_ peer: PeerState, now: MonotonicTime) {
        peer.awaitingSince = nil
        peer.suspicions = 0
        if peer.usesDirect {
            if let recovered = peer.recovered, now.since(recovered) < Limits.forgetAfter {
                peer.distrustedUntil = now + Limits.forgetAfter
            }
            peer.degradedSince = now
            peer.nextRescue = now
            restartSearch(peer, now: now)
        } else {
            if !peer.relays.isEmpty { peer.relayIndex = (peer.relayIndex + 1) % peer.relays.count }
            // Each relay had its turn: the peer itself may be gone.
            if peer.relayIndex == 0 { peer.strikes += 1 }
            if peer.direct == nil, peer.search.unanswered == 0 { restartSearch(peer, now: now) }
        }
        publish(peer)
    }

    /// Asks everywhere while the direct path is not trusted, and gives it up in the end.
    mutating func rescue(_ peer: PeerState, now: MonotonicTime) {
        peer.nextRescue = .never
        guard let since = peer.degradedSince, let direct = peer.direct else { return }
        if now.since(since) >= Limits.forgetAfter { return lose(peer, now: now) }
        if now == since {
            for index in peer.remotes.indices { ping(peer, index, now: now) }
        } else {
            ping(peer, .direct(direct.route), now: now)
        }
        peer.nextRescue = now + Limits.degradedSpacing
    }

    /// The path in use, or the one that is not trusted, answered.
    mutating func directAnswered(_ peer: PeerState, now: MonotonicTime) {
        if peer.degradedSince != nil {
            guard now >= peer.distrustedUntil else { return }
            peer.degradedSince = nil
            peer.nextRescue = .never
            peer.recovered = now
            peer.search.nextCall = .never
            scheduleKeeping(peer, now: now)
        }
        trust(peer, now: now)
        publish(peer)
    }

    /// A ping came back by a relay.
    mutating func relayAnswered(_ peer: PeerState, _ path: Path, _ roundTrip: Interval, now: MonotonicTime) {
        if peer.relayRoundTrips[path] == nil {
            peer.relayRoundTrips[path] = RoundTrip(first: roundTrip)
        } else {
            peer.relayRoundTrips[path]?.add(roundTrip)
        }
        if path == peer.published { return trust(peer, now: now) }
        // The one in use was asked at the same time and is silent.
        if peer.published?.isRelayed == true, peer.suspicions > 0, let index = peer.relays.firstIndex(of: path) {
            peer.relayIndex = index
            trust(peer, now: now)
            publish(peer)
        }
    }

    /// Our network may have changed: every direct path in use is asked, as if data had waited for an answer.
    mutating func suspectAll(now: MonotonicTime) {
        for peer in peers.values {
            guard let direct = peer.direct, peer.usesDirect, peer.isActive(now) else { continue }
            ping(peer, .direct(direct.route), now: now)
            peer.awaitingSince = peer.awaitingSince ?? now
            peer.nextWatch = min(peer.nextWatch, now + Limits.suspectSpacing)
            touch(peer)
        }
    }

    /// The direct path is gone: the search begins anew.
    mutating func lose(_ peer: PeerState, now: MonotonicTime) {
        dropDirect(peer)
        if peer.isActive(now) { restartSearch(peer, now: now) }
        touch(peer)
    }
}
