import Addressing
import Metrics
import Timing

// Probes: what comes in, what it answers, and what it proves.
extension Engine {
    mutating func receive(_ datagram: [UInt8], on way: Way, now: MonotonicTime) {
        guard let source = unsafe ProbeSeal.source(of: datagram.span.bytes) else { return counters.malformed += 1 }
        guard let peer = peers[source] else { return counters.unknownPeer += 1 }
        if case .direct(let route) = way, !ledger.mayUse(route.socket, source) { return counters.foreignSocket += 1 }
        do throws(ProbeSeal.Refusal) {
            handle(try peer.seal.open(datagram), from: peer, on: way, now: now)
        } catch {
            switch error {
            case .malformed: counters.malformed += 1
            case .authentication: counters.authentication += 1
            case .replayed: counters.replayed += 1
            }
        }
        touch(peer)
    }

    private mutating func handle(_ message: ProbeMessage, from peer: PeerState, on way: Way, now: MonotonicTime) {
        let silence = peer.direct.map { now.since($0.lastTraffic) } ?? .zero
        noteTraffic(peer, on: way, now: now)
        switch message {
        case .ping(let transaction, _): answerPing(transaction, of: peer, on: way, now: now)
        case .pong(let transaction, let observed): verify(peer, transaction, observed, on: way, now: now)
        case .call(let call): handle(call, from: peer, now: now)
        case .keepalive(let keepalive): receive(keepalive, of: peer, on: way, after: silence, now: now)
        }
    }

    private mutating func answerPing(_ transaction: UInt64, of peer: PeerState, on way: Way, now: MonotonicTime) {
        guard case .direct(let route) = way else {
            let nowhere = Endpoint(.v4(.any), port: 0)
            return send(peer.seal.seal(.pong(transaction: transaction, observed: nowhere)), way)
        }
        guard !configuration.policy.refuses(route.remote) else { return counters.refusedTargets += 1 }
        // Of the sockets that wait only one may win, or both ends could settle on different ones.
        guard admitsHit(peer, on: route.socket, now: now) else { return }
        send(peer.seal.seal(.pong(transaction: transaction, observed: route.remote)), way)
        // The peer can reach us from there; find out whether we can reach it.
        if peer.needsDirect || PeerState.Remote(.peerReflexive, route).tier < peer.direct?.tier ?? .max {
            check(peer, .peerReflexive, route, now: now)
        }
    }

    /// The peer's data or keepalives come from elsewhere than ours go.
    mutating func carriedElsewhere(_ peer: PeerState, _ route: Route, now: MonotonicTime) {
        for index in peer.retired.indices where peer.retired[index].socket == route.socket {
            peer.retired[index].carried = now
        }
        let asked = peer.remotes.first { $0.route == route }?.lastPing
        if asked.map({ now.since($0) >= .milliseconds(200) }) ?? true { check(peer, .peerReflexive, route, now: now) }
    }

    /// Pings a place that the peer was just heard from, unless that was done a moment ago: what went there before the peer
    /// was heard for the first time may have died at the peer's NAT, and doesn't count (RFC 8445, 7.3.1.4).
    mutating func check(_ peer: PeerState, _ kind: Candidate.Kind, _ route: Route, now: MonotonicTime) {
        guard !configuration.policy.refuses(route.remote) else { return counters.refusedTargets += 1 }
        let index = peer.learned(kind, route)
        let wasHeard = peer.remotes[index].wasHeard
        peer.remotes[index].wasHeard = true
        if wasHeard, let last = peer.remotes[index].lastPing, now.since(last) < .milliseconds(20) { return }
        ping(peer, index, now: now)
    }

    @discardableResult
    mutating func ping(_ peer: PeerState, _ index: Int, now: MonotonicTime) -> Bool {
        guard ping(peer, .direct(peer.remotes[index].route), now: now) else { return false }
        peer.remotes[index].lastPing = now
        return true
    }

    /// False when the peer has had its pings for now.
    ///
    /// - Parameter measures: pads the ping to what an inner packet of this size becomes.
    @discardableResult
    mutating func ping(_ peer: PeerState, _ way: Way, measures size: Int? = nil, now: MonotonicTime) -> Bool {
        guard peer.pingBudget.take(1, limit: Limits.pings, now: now) else {
            counters.overBudget += 1
            return false
        }
        let transaction = random.next()
        // Later answers don't count; those sent first are first.
        while let first = peer.pings.first,
            peer.pings.count >= Limits.outstandingPings || now.since(first.sent) > Limits.pingTimeout
        {
            peer.pings.removeFirst()
            if first.isInUse { counters.lostProbes += 1 }
        }
        let isInUse = size == nil && isInUse(way, by: peer)
        if isInUse { counters.sentProbes += 1 }
        peer.pings.append(
            PeerState.Ping(transaction: transaction, way: way, sent: now, measures: size, isInUse: isInUse))
        let padding = size.map { max(PathMTU.payload(of: $0) - ProbeSeal.overhead - ProbeMessage.pingSize, 0) } ?? 0
        send(
            peer.seal.seal(.ping(transaction: transaction, padding: padding)), way,
            SendOptions(dontFragment: size != nil))
        if case .direct(let route) = way, peer.direct?.route == route { peer.direct?.lastTraffic = now }
        return true
    }

    /// Whether the peer's packets go this way now.
    private func isInUse(_ way: Way, by peer: PeerState) -> Bool {
        switch (way, peer.published) {
        case (.direct(let route), .direct): peer.direct?.route == route
        case (.relayed(let path), let published?): path == published
        default: false
        }
    }

    /// A pong proves its path only when it answers a ping that went out on exactly that path.
    private mutating func verify(
        _ peer: PeerState, _ transaction: UInt64, _ observed: Endpoint, on way: Way, now: MonotonicTime
    ) {
        if let index = peer.pings.firstIndex(where: { $0.transaction == transaction && $0.way == way }) {
            let ping = peer.pings.remove(at: index)
            guard now.since(ping.sent) <= Limits.pingTimeout else {
                if ping.isInUse { counters.lostProbes += 1 }
                return counters.foreignPongs += 1
            }
            if ping.isInUse { counters.answeredProbes += 1 }
            counters.roundTrips.observe(now.since(ping.sent).seconds)
            if case .direct(let route) = way { seen(observed, by: peer, on: route, now: now) }
            answered(peer, ping, now: now)
        } else if case .direct(let route) = way, let sent = sprayHit(peer, transaction, route) {
            peer.spray?.isOver = true
            verified(peer, .peerReflexive, route, now.since(sent), now: now)
        } else {
            counters.foreignPongs += 1
        }
    }

    private mutating func answered(_ peer: PeerState, _ ping: PeerState.Ping, now: MonotonicTime) {
        let roundTrip = now.since(ping.sent)
        if let size = ping.measures { measured(peer, size, on: ping.way, now: now) }
        switch ping.way {
        case .relayed(let path): relayAnswered(peer, path, roundTrip, now: now)
        case .direct(let route):
            verified(peer, .peerReflexive, route, roundTrip, now: now)
        }
    }

    /// A path works: the peer answered on it.
    mutating func verified(
        _ peer: PeerState, _ kind: Candidate.Kind, _ route: Route, _ roundTrip: Interval, now: MonotonicTime
    ) {
        let index = peer.learned(kind, route)
        if peer.remotes[index].roundTrip == nil {
            peer.remotes[index].roundTrip = RoundTrip(first: roundTrip)
        } else {
            peer.remotes[index].roundTrip?.add(roundTrip)
        }
        if peer.direct?.route == route {
            peer.direct?.roundTrip.add(roundTrip)
            return directAnswered(peer, now: now)
        }
        if replaces(peer, index, now: now) { promote(peer, index, now: now) }
    }

    /// Whether a place that just answered takes over from the path in use.
    private func replaces(_ peer: PeerState, _ index: Int, now: MonotonicTime) -> Bool {
        guard let direct = peer.direct, peer.degradedSince == nil else { return true }
        let remote = peer.remotes[index]
        guard remote.tier == direct.tier else { return remote.tier < direct.tier }
        if isPeersChoice(peer, remote.route, now: now) { return true }
        guard let candidate = remote.roundTrip?.smoothed else { return false }
        let current = direct.roundTrip.smoothed
        let isBetter = candidate + Limits.betterBy < current && candidate.nanoseconds < current.nanoseconds / 5 * 4
        peer.remotes[index].betterSamples = isBetter ? remote.betterSamples + 1 : 0
        return peer.remotes[index].betterSamples >= Limits.betterSamples
            && now.since(direct.established) >= Limits.stickyFor
    }

    /// Whether both ends have settled at the same time on paths of their own: the lower one's holds.
    private func isPeersChoice(_ peer: PeerState, _ route: Route, now: MonotonicTime) -> Bool {
        guard peer.id < localID, let direct = peer.direct, now.since(direct.established) >= Limits.settlesAfter else {
            return false
        }
        return peer.retired.contains { old in
            old.socket == route.socket && old.carried.map { now.since($0) < Limits.settlesAfter } ?? false
        }
    }

    /// The place becomes the peer's path.
    private mutating func promote(_ peer: PeerState, _ index: Int, now: MonotonicTime) {
        let remote = peer.remotes[index]
        guard let roundTrip = remote.roundTrip, adopt(remote.route.socket, for: peer, now: now) else { return }
        let old = peer.direct
        peer.direct = PeerState.Direct(
            route: remote.route, tier: remote.tier, roundTrip: roundTrip, established: now, heard: now, lastTraffic: now
        )
        peer.degradedSince = nil
        peer.nextRescue = .never
        peer.trust(now: now, patience: Limits.suspectAfter)
        peer.search.nextCall = .never
        peer.search.unanswered = 0
        peer.search.attempts = 0
        if let old { retire(old.route.socket, of: peer, now: now) }
        peer.openAt = .never
        peer.retired.removeAll { $0.socket == remote.route.socket }
        // The peer's path may begin at the one that it got through to, as ours begins at a socket of our own.
        if let hit = peer.opening?.hit { retire(hit, of: peer, now: now) }
        finishProbing(peer)
        peer.comparisons = Limits.comparisons
        peer.nextComparison = now + .seconds(1)
        startKeeping(peer, now: now)
        publish(peer)
        startMeasuring(peer, now: now)
    }

    /// Pings the places that could be better than the path in use, a few times while it is new.
    mutating func compare(_ peer: PeerState, now: MonotonicTime) {
        peer.nextComparison = .never
        guard let direct = peer.direct, peer.comparisons > 0, peer.isActive(now) else { return }
        peer.comparisons -= 1
        for index in peer.remotes.indices {
            let remote = peer.remotes[index]
            guard remote.route != direct.route,
                remote.tier < direct.tier || remote.roundTrip != nil && remote.tier == direct.tier
            else { continue }
            ping(peer, index, now: now)
        }
        ping(peer, .direct(direct.route), now: now)
        peer.nextComparison = now + .seconds(1)
    }
}
