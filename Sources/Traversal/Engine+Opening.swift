import Addressing
import Timing

// Opening: sockets of ours make entries in our NAT, and the peer is told where to look for them.
extension Engine {
    /// Plans what goes beyond plain opening, now that both NATs are known.
    mutating func planMore(_ peer: PeerState, now: MonotonicTime) {
        guard configuration.allowsGuessing, peer.needsDirect, peer.wasCalled, peer.opening == nil else { return }
        let plan = PunchPlan(local: behavior, remote: peer.behavior, isLower: localID < peer.id)
        switch plan.role {
        case .none: break
        case .opens(let opening):
            if case .ahead = opening.target {
                guard let told = peer.nextPort, now.since(told.at) < Limits.nextPortLifetime else { return }
            }
            peer.openAt = min(peer.openAt, plan.isCertain ? now : now + Limits.plainFirst)
            if peer.openAt <= now { startOpening(peer, now: now) }
        case .sprays(let spray):
            if spray.tellsNextPort { sampleNextPort(peer, now: now) }
        }
        touch(peer)
    }

    mutating func startOpening(_ peer: PeerState, now: MonotonicTime) {
        peer.openAt = .never
        let plan = PunchPlan(local: behavior, remote: peer.behavior, isLower: localID < peer.id)
        guard case .opens(let opening) = plan.role, peer.needsDirect, peer.opening == nil else { return }
        var targets = targets(of: opening, peer)
        if case .random = opening.kind {
            targets = Array(targets.prefix(1))
            if let last = peer.lastLargeSpray, now.since(last) < Limits.largeSpraySpacing { return }
        }
        // A peer that names somebody else's address as its own gets no more sent there than a spray may.
        targets.removeAll { configuration.policy.refuses($0) || $0.address.isPrivate }
        guard !targets.isEmpty else { return }
        let isSequential = opening.kind == .sequential
        let count = min(opening.sockets, ledger.available - (isSequential ? 2 : 0))
        guard count > 0 else { return }
        let kind: OpeningState.Kind
        switch (opening.kind, behavior.allocation) {
        case (.sequential, .sequential(let step)): kind = .sequential(step: step)
        case (.block(let ports), _): kind = .block(ports)
        case (.random, _): kind = .random
        default: return
        }
        let packets = count * targets.count
        guard packets <= Limits.sprayProbes, kind != .random || budget.begin(to: targets[0].address, now: now),
            peer.sprayBudget.take(UInt64(packets), limit: Limits.pairSpray, now: now), budget.take(packets, now: now)
        else { return counters.overBudget += 1 }
        if kind == .random { peer.lastLargeSpray = now }
        begin(kind, peer, sockets: count, targets: targets, now: now)
    }

    private func targets(of opening: PunchPlan.Opening, _ peer: PeerState) -> [Endpoint] {
        guard let seen = peer.reflexive.first else { return [] }
        switch opening.target {
        case .reflexive: return Array(peer.reflexive.prefix(2))
        case .ahead(let step, let count):
            guard let next = peer.nextPort?.port else { return [] }
            return (0..<count).compactMap { index in
                UInt16(exactly: Int(next) + index * Int(step)).map { Endpoint(seen.address, port: $0) }
            }
        case .block(let ports): return ports.map { Endpoint(seen.address, port: $0) }
        }
    }

    private mutating func begin(
        _ kind: OpeningState.Kind, _ peer: PeerState, sockets count: Int, targets: [Endpoint], now: MonotonicTime
    ) {
        let samples = if case .sequential = kind { true } else { false }
        // In the order in which they send, so that a sequential NAT gives their ports in this order.
        let before = samples ? open(.probing(peer.id)) : nil
        let sockets = (0..<count).compactMap { _ in open(.probing(peer.id)) }
        let after = samples ? open(.probing(peer.id)) : nil
        let opener = peer.seal.seal(.ping(transaction: random.next()))
        peer.opening = OpeningState(
            kind: kind, sockets: sockets, targets: targets, before: before, after: after, opener: opener,
            hops: peer.behavior.remapsAfterUnsolicited == false ? nil : openerHops, next: now,
            end: now + Limits.openingLifetime)
        if let before { ask(before, .opening(peer.id), now: now) }
        if kind == .escape, let socket = sockets.first {
            ask(socket, .opening(peer.id), now: now)
            peer.opening?.samplesUntil = now + .seconds(1)
            peer.opening?.next = now + .seconds(1)
        } else {
            runOpening(peer, now: now)
        }
    }

    /// The next step of an opening: sends, waits for servers, tells the peer, ends.
    mutating func runOpening(_ peer: PeerState, now: MonotonicTime) {
        guard var opening = peer.opening else { return }
        if now >= opening.end || (opening.kind == .escape && opening.mapped == nil && now >= opening.samplesUntil) {
            for socket in opening.allSockets where peer.direct?.route.socket != socket { close(socket) }
            peer.opening = nil
            return
        }
        if opening.fired < opening.total, opening.kind != .escape || opening.mapped != nil {
            fire(&opening, of: peer, now: now)
            if opening.fired >= opening.total, let after = opening.after {
                ask(after, .opening(peer.id), now: now)
                opening.samplesUntil = now + .milliseconds(600)
            }
        }
        peer.opening = opening
        announceIfReady(peer, now: now)
        if let opening = peer.opening, opening.hit == nil, opening.nextAnnouncement <= now { announce(peer, now: now) }
        follow(peer, now: now)
        guard let current = peer.opening else { return }
        var next = current.end
        if current.fired < current.total, current.kind != .escape || current.mapped != nil {
            next = now + Limits.openingSpacing
        } else if current.announced == nil {
            next = min(next, current.samplesUntil)
        }
        next = min(next, current.hit == nil ? current.nextAnnouncement : .never)
        if let rounds = current.follow { next = min(next, rounds.next) }
        peer.opening?.next = next
    }

    private mutating func fire(_ opening: inout OpeningState, of peer: PeerState, now: MonotonicTime) {
        let end = min(opening.fired + Limits.openingBurst, opening.total)
        for index in opening.fired..<end {
            let route = Route(
                opening.sockets[index / opening.targets.count], opening.targets[index % opening.targets.count])
            // The others had their budget taken when they began.
            if opening.kind == .escape, !peer.pingBudget.take(1, limit: Limits.pings, now: now) {
                counters.overBudget += 1
                continue
            }
            send(opening.opener, .direct(route), SendOptions(hops: opening.hops))
        }
        opening.fired = end
    }

    /// Tells the peer which ports to try, once they are known.
    private mutating func announceIfReady(_ peer: PeerState, now: MonotonicTime) {
        guard let opening = peer.opening, opening.announced == nil, let address = reflexiveAddress else { return }
        let opened: Call.Opened
        switch opening.kind {
        case .escape:
            guard let mapped = opening.mapped, opening.fired >= opening.total else { return }
            opened = Call.Opened(first: mapped)
        case .sequential(let step):
            let isComplete = opening.portBefore != nil && opening.portAfter != nil
            guard opening.fired >= opening.total, isComplete || now >= opening.samplesUntil else { return }
            guard let ports = opening.ports(step: step) else {
                peer.opening?.end = now
                return
            }
            opened = Call.Opened(first: Endpoint(address, port: ports.first), step: step, count: ports.count)
        case .block(let ports):
            guard opening.fired >= opening.total else { return }
            opened = Call.Opened(first: Endpoint(address, port: ports.lowerBound), count: UInt16(clamping: ports.count))
        case .random:
            opened = Call.Opened(first: Endpoint(address, port: 1024), count: 64512)
        }
        peer.opening?.announced = opened
        peer.opening?.end = now + Limits.openingLifetime
        announce(peer, now: now)
        if opening.sockets.count == 1 {
            let trip = ((relayTrip ?? Limits.relayTripUnknown) + (peer.relayTrip ?? Limits.relayTripUnknown)) / 2
            peer.opening?.follow = Punch.Rounds(at: now + min(trip, Limits.longestAgreedWait) + Limits.followAfter)
        }
    }

    private mutating func announce(_ peer: PeerState, now: MonotonicTime) {
        guard let opening = peer.opening, let opened = opening.announced else { return }
        sendCall(peer, [], opened: opened)
        peer.opening?.announcements += 1
        let isLast = opening.announcements + 1 >= Limits.announcementSpacing.count
        peer.opening?.nextAnnouncement = isLast ? .never : now + Limits.announcementSpacing[opening.announcements]
    }

    /// A NAT behind the first one has not seen what died on the way: pings follow when the peer has sent.
    private mutating func follow(_ peer: PeerState, now: MonotonicTime) {
        guard let opening = peer.opening, var rounds = opening.follow, rounds.next <= now,
            let socket = opening.sockets.first
        else { return }
        rounds.advance(past: now)
        peer.opening?.follow = rounds
        for target in opening.targets.prefix(8) { ping(peer, .direct(Route(socket, target)), now: now) }
    }

    /// A server said how it sees a socket of an opening.
    mutating func sampled(_ socket: SocketID, _ mapped: Endpoint, for id: AgentID, now: MonotonicTime) {
        guard let peer = peers[id] else { return }
        if peer.nextPortSampler == socket {
            close(socket)
            peer.nextPortSampler = nil
            guard case .sequential(let step) = behavior.allocation, peer.needsDirect else { return }
            sendCall(peer, [], nextPort: UInt16(clamping: Int(mapped.port) + Int(step)))
        } else if peer.opening?.before == socket {
            peer.opening?.portBefore = mapped.port
            runOpening(peer, now: now)
        } else if peer.opening?.after == socket {
            peer.opening?.portAfter = mapped.port
            runOpening(peer, now: now)
        } else if peer.opening?.kind == .escape, peer.opening?.sockets.first == socket {
            peer.opening?.mapped = mapped
            runOpening(peer, now: now)
        }
        touch(peer)
    }

    /// The peer opens toward us, and must know which port our sequential NAT gives next.
    private mutating func sampleNextPort(_ peer: PeerState, now: MonotonicTime) {
        guard peer.nextPortSampler == nil, let socket = open(.probing(peer.id)) else { return }
        peer.nextPortSampler = socket
        ask(socket, .opening(peer.id), now: now)
    }

    /// Nothing came through, though it should. Both NATs have one mapping: an entry that a stranger made, or a packet that was
    /// too early, has taken our port. Or the peer's has many and lets everybody in: it has one for a packet to us that went
    /// out before ours came in. A fresh port of ours is free of both.
    mutating func suspectRemapping(_ peer: PeerState, now: MonotonicTime) {
        let last = peer.opening
        guard configuration.allowsGuessing, peer.needsDirect, last == nil || last?.kind == .escape && last?.hit == nil,
            canEscape(from: peer), ledger.available > 0
        else { return }
        let targets = peer.reflexive.filter { !configuration.policy.refuses($0) }
        guard !targets.isEmpty else { return }
        for socket in last?.allSockets ?? [] { close(socket) }
        // What we send on the old ports keeps the entry alive.
        peer.punch?.careful.stop()
        begin(.escape, peer, sockets: 1, targets: targets, now: now)
    }

    private func canEscape(from peer: PeerState) -> Bool {
        guard behavior.hasOneMapping else { return false }
        let isBehindNAT = behavior.mapping == .endpointIndependent
        if peer.behavior.hasManyMappings { return isBehindNAT && peer.behavior.filtering == .endpointIndependent }
        return peer.behavior.hasOneMapping && (isBehindNAT || peer.behavior.mapping == .endpointIndependent)
    }

    /// Whether a probe on this socket may be answered: of those that wait for a spray, the first that is hit wins.
    mutating func admitsHit(_ peer: PeerState, on socket: SocketID, now: MonotonicTime) -> Bool {
        guard let opening = peer.opening, opening.sockets.contains(socket), opening.hit != socket else { return true }
        guard opening.hit == nil, peer.needsDirect, adopt(socket, for: peer, now: now) else { return false }
        peer.opening?.hit = socket
        peer.punch = Punch(now: now)
        return true
    }
}
