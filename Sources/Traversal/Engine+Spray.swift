import Addressing
import Timing

// Spraying: the peer has opened, and we try the ports that it may wait behind. A hostile peer must not make a scanner of us:
// only an address that it named as its own, never a private one, and within budgets of the pair, the node and the address.
extension Engine {
    /// The peer says where it waits.
    mutating func answer(_ opened: Call.Opened, from peer: PeerState, now: MonotonicTime) {
        guard peer.needsDirect, opened.count > 0, opened.step > 0,
            !configuration.policy.refuses(opened.first), !opened.first.address.isIPv6
        else { return counters.refusedSprays += 1 }
        if opened.count == 1 {
            return meet(opened.first, peer, now: now)
        }
        let isLarge = Int(opened.count) > Limits.largeSpray
        guard peer.spray == nil else { return }
        guard configuration.allowsGuessing, !opened.first.address.isPrivate,
            peer.reflexive.contains(where: { $0.address == opened.first.address }),
            !isLarge || peer.lastLargeSpray.map({ now.since($0) >= Limits.largeSpraySpacing }) ?? true,
            !isLarge || budget.begin(to: opened.first.address, now: now)
        else { return counters.refusedSprays += 1 }
        if isLarge { peer.lastLargeSpray = now }
        let plan = PunchPlan(local: behavior, remote: peer.behavior, isLower: localID < peer.id)
        var wanted = 1
        if case .sprays(let spray) = plan.role { wanted = spray.sockets }
        let isOrdered = if case .sequential = behavior.allocation { true } else { false }
        let own = (1..<max(wanted, 1)).compactMap { _ in open(.probing(peer.id)) }
        peer.spray = SprayState(
            opened, sockets: [.homeIPv4] + own, ownSockets: own, seed: isOrdered ? nil : random.next(), now: now)
        runSpray(peer, now: now)
    }

    /// One port that is known exactly: a new place like any other, pinged at once and again.
    private mutating func meet(_ endpoint: Endpoint, _ peer: PeerState, now: MonotonicTime) {
        let route = Route(.homeIPv4, endpoint)
        if !peer.remotes.contains(where: { $0.route == route }) {
            guard peer.namingBudget.take(10, limit: Limits.naming, now: now) else { return counters.overBudget += 1 }
        }
        let index = peer.learned(.peerReflexive, route)
        ping(peer, index, now: now)
        var punch = Punch(now: now)
        punch.quick.advance(past: now)
        // Should this fail as well, our turn comes all the same.
        if let before = peer.punch {
            (punch.escapeAt, punch.escapeSpacing, punch.escapes) = (
                before.escapeAt, before.escapeSpacing, before.escapes
            )
        }
        peer.punch = punch
    }

    mutating func runSpray(_ peer: PeerState, now: MonotonicTime) {
        guard var spray = peer.spray else { return }
        // The last probes get a second to be answered.
        guard !spray.isOver, peer.needsDirect, spray.index < spray.total else {
            for socket in spray.ownSockets where peer.direct?.route.socket != socket { close(socket) }
            peer.spray = nil
            return
        }
        let end = min(spray.index + Limits.sprayBurst, spray.total)
        let routes = (spray.index..<end).compactMap { spray.route($0) }
        let cost = UInt64(routes.count)
        guard peer.sprayBudget.take(cost, limit: Limits.pairSpray, now: now), budget.take(routes.count, now: now) else {
            counters.overBudget += 1
            spray.index = spray.total
            spray.next = now + .seconds(1)
            peer.spray = spray
            return
        }
        let transaction = random.next()
        let bytes = peer.seal.seal(.ping(transaction: transaction))
        for route in routes { send(bytes, .direct(route)) }
        sprayed += routes.count
        spray.batches.append((transaction, now, routes))
        spray.index = end
        spray.next = now + (end < spray.total ? Limits.spraySpacing : .seconds(1))
        peer.spray = spray
    }

    /// When the probe went out that a pong answers; nil when none did on that route.
    func sprayHit(_ peer: PeerState, _ transaction: UInt64, _ route: Route) -> MonotonicTime? {
        peer.spray?.batches.last { $0.transaction == transaction && $0.routes.contains(route) }?.sent
    }
}
