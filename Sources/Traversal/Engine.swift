package import Addressing
package import Sodium
package import Timing

/// Finds and keeps the best path to each peer: (now, event) in, actions out. No sockets, clocks or threads.
///
/// The caller feeds it what arrived and what was sent, performs the actions it takes with `takeActions`, and calls
/// `tick` at `nextDeadline`. Not safe for concurrent use.
package struct Engine: ~Copyable {
    package enum Action: Equatable, Sendable {
        /// A sealed probe for a direct path, or for the relay as the payload of a relay frame.
        case send([UInt8], Path)
        /// The same sealed bytes as a signal through the directory, when the relay did not get an answer.
        case signal([UInt8], to: AgentID)
        /// Packets for the peer now go there; nil while there is neither a relay nor a direct path.
        case setPath(AgentID, Path?)
    }

    /// What was dropped, and why.
    package struct Counters: Equatable, Sendable {
        package var unknownPeer: UInt64 = 0
        package var malformed: UInt64 = 0
        package var authentication: UInt64 = 0
        package var replayed: UInt64 = 0
        package var refusedTargets: UInt64 = 0
        package var overBudget: UInt64 = 0
        package var foreignPongs: UInt64 = 0
        /// Calls that came too fast to be answered.
        package var excessCalls: UInt64 = 0
    }

    package struct Status: Sendable {
        package let path: Path?
        package let roundTrip: Interval?
        /// When the direct path was found.
        package let directSince: MonotonicTime?
    }

    package private(set) var counters = Counters()
    private let localID: AgentID
    private let policy: TargetPolicy
    private var random: SecureRandom
    private var peers: [AgentID: PeerPaths] = [:]
    private let agenda = Agenda()
    private var localCandidates: [Candidate] = []
    private var actions: [Action] = []
    /// Counts the peers added, so that no two seals for the same keys use a nonce twice.
    private var incarnation: UInt32 = 0
    /// The home sockets that exist: 0 for IPv4, 1 for IPv6.
    private let sockets: (v4: UInt8?, v6: UInt8?)

    package init(localID: AgentID, policy: TargetPolicy, socketV4: UInt8?, socketV6: UInt8?) {
        self.localID = localID
        self.policy = policy
        sockets = (socketV4, socketV6)
        random = SecureRandom()
    }

    // MARK: What the caller tells

    /// Our own candidates changed: peers that are relayed are called again at once.
    package mutating func setLocalCandidates(_ candidates: [Candidate], now: MonotonicTime) {
        let candidates = Array(candidates.prefix(ProbeMessage.maximumCandidates))
        guard candidates != localCandidates else { return }
        localCandidates = candidates
        for peer in peers.values { peer.restartSearch(now) }
    }

    /// Adds a peer, or replaces what is known of one whose static key changed: the search starts anew.
    ///
    /// - Parameter relay: the path through the relay that both use, or nil when there is none.
    /// - Throws: `smallOrderPoint` for a static key that nobody can hold.
    package mutating func addPeer(
        _ id: AgentID, localKey: borrowing SecretKey, remoteKey: X25519.PublicKey, epoch: UInt32, relay: Path?,
        now: MonotonicTime
    ) throws(SodiumError) {
        incarnation += 1
        let seal = try ProbeSeal(
            localID: localID, localKey: localKey, remoteID: id, remoteKey: remoteKey, epoch: epoch,
            incarnation: incarnation)
        peers[id] = PeerPaths(id: id, seal: seal, relay: relay, agenda: agenda, now: now)
        actions.append(.setPath(id, relay))
    }

    package mutating func removePeer(_ id: AgentID) { peers[id] = nil }

    package mutating func setRelay(_ relay: Path?, for id: AgentID) {
        guard let peer = peers[id], peer.relay != relay else { return }
        peer.relay = relay
        if peer.direct == nil { actions.append(.setPath(id, relay)) }
    }

    /// Data went to the peer.
    package mutating func sent(to id: AgentID, now: MonotonicTime) {
        guard let peer = peers[id] else { return }
        let wasQuiet = now.since(peer.lastSent) > Limits.sendingWithin
        peer.lastSent = now
        if wasQuiet, let direct = peer.direct {
            peer.direct?.nextPing = min(direct.nextPing, now + Limits.pingWhenSilent)
        }
        if wasQuiet, peer.direct == nil, peer.nextCall == .never { peer.restartSearch(now) }
    }

    /// An authenticated WireGuard packet of the peer came in on `path`.
    package mutating func heard(from id: AgentID, on path: Path, now: MonotonicTime) {
        guard let peer = peers[id] else { return }
        peer.lastHeard = now
        guard !path.isRelayed else { return }
        if peer.direct?.path == path {
            peer.direct?.heard = now
        } else if case .direct(let socket, let endpoint) = path,
            now.since(lastCheck(peer, endpoint)) > .milliseconds(200)
        {
            check(peer, Candidate(.peerReflexive, endpoint), socket: socket, now: now)
        }
    }

    /// A datagram of our probe type came in. Nothing changes unless it verifies.
    package mutating func receive(_ datagram: [UInt8], from path: Path, now: MonotonicTime) {
        guard let source = unsafe ProbeSeal.source(of: datagram.span.bytes) else {
            counters.malformed += 1
            return
        }
        guard let peer = peers[source] else {
            counters.unknownPeer += 1
            return
        }
        do {
            handle(try peer.seal.open(datagram), from: peer, on: path, now: now)
        } catch {
            switch error {
            case .malformed: counters.malformed += 1
            case .authentication: counters.authentication += 1
            case .replayed: counters.replayed += 1
            }
        }
    }

    /// Runs what is due.
    package mutating func tick(now: MonotonicTime) {
        guard agenda.earliest <= now else { return }
        for peer in peers.values where peer.deadline <= now {
            if peer.nextCall <= now { call(peer, now: now) }
            if peer.nextRound <= now { round(peer, now: now) }
            if let direct = peer.direct, direct.nextPing <= now { maintain(peer, direct, now: now) }
        }
        agenda.restart(at: peers.values.lazy.map(\.deadline).min() ?? .never)
    }

    package var nextDeadline: MonotonicTime { agenda.earliest }

    package mutating func takeActions() -> [Action] {
        defer { actions.removeAll(keepingCapacity: true) }
        return actions
    }

    package func status(of id: AgentID) -> Status? {
        peers[id].map {
            Status(path: $0.current, roundTrip: $0.direct?.roundTrip, directSince: $0.direct?.established)
        }
    }

    // MARK: Calls and probes

    private mutating func call(_ peer: PeerPaths, now: MonotonicTime) {
        let spacing =
            peer.calls < Limits.callSpacing.count ? Limits.callSpacing[peer.calls] : Limits.callSpacingAtRest
        peer.nextCall = peer.direct == nil ? now + jittered(spacing) : .never
        guard peer.direct == nil else { return }
        if peer.calls == 0 { peer.searchStarted = now }
        sendCall(peer, wantsAnswer: true, alsoSignal: peer.calls >= 1)
        peer.calls += 1
    }

    private mutating func sendCall(_ peer: PeerPaths, wantsAnswer: Bool, alsoSignal: Bool) {
        let message = ProbeMessage.call(wantsAnswer: wantsAnswer, localCandidates)
        if let relay = peer.relay { actions.append(.send(peer.seal.seal(message), relay)) }
        if alsoSignal || peer.relay == nil { actions.append(.signal(peer.seal.seal(message), to: peer.id)) }
    }

    private mutating func handle(_ message: ProbeMessage, from peer: PeerPaths, on path: Path, now: MonotonicTime) {
        switch message {
        case .ping(let transaction):
            guard case .direct(let socket, let endpoint) = path else { return }
            guard !policy.refuses(endpoint) else {
                counters.refusedTargets += 1
                return
            }
            actions.append(.send(peer.seal.seal(.pong(transaction: transaction, observed: endpoint)), path))
            // The peer can reach us from there; find out whether we can reach it.
            if peer.direct == nil { check(peer, Candidate(.peerReflexive, endpoint), socket: socket, now: now) }
        case .pong(let transaction, _):
            verified(peer, transaction, on: path, now: now)
        case .call(let wantsAnswer, let candidates):
            guard peer.calledBudget.take(1, limit: Limits.calls, now: now) else {
                counters.excessCalls += 1
                return
            }
            if wantsAnswer { sendCall(peer, wantsAnswer: false, alsoSignal: !path.isRelayed && peer.direct == nil) }
            var named: [PeerPaths.Remote] = []
            for candidate in candidates { if let remote = remote(candidate) { named.append(remote) } }
            peer.setNamed(named, now: now)
            guard peer.direct == nil else { return }
            peer.rounds = 0
            peer.nextRound = now
            round(peer, now: now)
        }
    }

    /// The remote that a candidate of a peer names; nil, and counted, when it is refused.
    private mutating func remote(_ candidate: Candidate) -> PeerPaths.Remote? {
        guard let socket = candidate.endpoint.address.isIPv6 ? sockets.v6 : sockets.v4 else { return nil }
        guard !policy.refuses(candidate.endpoint) else {
            counters.refusedTargets += 1
            return nil
        }
        return PeerPaths.Remote(candidate: candidate, socket: socket)
    }

    /// Pings every candidate once, and plans the next round until one answers.
    private mutating func round(_ peer: PeerPaths, now: MonotonicTime) {
        guard peer.direct == nil, peer.rounds <= Limits.roundSpacing.count else {
            peer.nextRound = .never
            return
        }
        for index in peer.remotes.indices { ping(peer, index, now: now) }
        peer.nextRound = peer.rounds < Limits.roundSpacing.count ? now + Limits.roundSpacing[peer.rounds] : .never
        peer.rounds += 1
    }

    private mutating func check(_ peer: PeerPaths, _ candidate: Candidate, socket: UInt8, now: MonotonicTime) {
        guard !policy.refuses(candidate.endpoint) else {
            counters.refusedTargets += 1
            return
        }
        ping(peer, peer.learned(PeerPaths.Remote(candidate: candidate, socket: socket)), now: now)
    }

    /// False when the peer has had its pings for now.
    @discardableResult
    private mutating func ping(_ peer: PeerPaths, _ index: Int, now: MonotonicTime) -> Bool {
        guard peer.budget.take(1, limit: Limits.probes, now: now) else {
            counters.overBudget += 1
            return false
        }
        let transaction = random.next()
        peer.remotes[index].pings.append((transaction, now))
        if peer.remotes[index].pings.count > 8 { peer.remotes[index].pings.removeFirst() }
        actions.append(.send(peer.seal.seal(.ping(transaction: transaction)), peer.remotes[index].path))
        return true
    }

    /// A pong proves its path only when it answers a ping that went out on exactly that path.
    private mutating func verified(_ peer: PeerPaths, _ transaction: UInt64, on path: Path, now: MonotonicTime) {
        guard let index = peer.remotes.firstIndex(where: { $0.path == path }),
            let ping = peer.remotes[index].pings.firstIndex(where: {
                $0.transaction == transaction && now.since($0.sent) <= Limits.pingTimeout
            })
        else {
            counters.foreignPongs += 1
            return
        }
        let roundTrip = now.since(peer.remotes[index].pings[ping].sent)
        peer.remotes[index].pings.removeSubrange(...ping)
        peer.remotes[index].roundTrip = roundTrip
        if peer.direct?.path == path {
            peer.direct?.heard = now
            peer.direct?.unanswered = 0
            peer.direct?.roundTrip = roundTrip
            return
        }
        if let direct = peer.direct {
            let stale = now.since(direct.heard) > Limits.pingWhenSilent && direct.unanswered > 0
            // Two ends that each prefer what the other uses must not change places with every round trip.
            let isSettled = now.since(direct.established) >= Limits.settledAfter
            let better = isSettled && roundTrip + Limits.betterBy < direct.roundTrip
            guard stale || better else { return }
        }
        peer.direct = PeerPaths.Direct(
            path: path, roundTrip: roundTrip, established: now, heard: now, lastPing: now,
            nextPing: now + Limits.pingWhenSilent)
        peer.nextRound = .never
        peer.nextCall = .never
        actions.append(.setPath(peer.id, path))
    }

    /// Keeps a direct path open, checks it while it is used, and gives it up when it stays silent.
    private mutating func maintain(_ peer: PeerPaths, _ direct: PeerPaths.Direct, now: MonotonicTime) {
        let silence = now.since(direct.heard)
        let isSilent = silence >= Limits.pingWhenSilent
        guard direct.unanswered < (isSilent ? Limits.unansweredWhenSilent : Limits.unansweredWhenHeard),
            let index = peer.remotes.firstIndex(where: { $0.path == direct.path })
        else { return lose(peer, now: now) }
        guard peer.isActive(now) else {
            // Nothing was sent or heard for minutes: the binding may lapse, and the next packet takes the relay.
            peer.direct = nil
            peer.nextCall = .never
            actions.append(.setPath(peer.id, peer.relay))
            return
        }
        if direct.unanswered == 0 {
            let sending = now.since(peer.lastSent) <= Limits.sendingWithin
            let due =
                sending
                ? min(direct.heard + Limits.pingWhenSilent, direct.lastPing + Limits.pingWhenActive)
                : max(direct.heard, direct.lastPing) + Limits.pingWhenIdle
            guard due <= now else {
                peer.direct?.nextPing = due
                return
            }
        }
        // A ping that was not sent is not unanswered either.
        if ping(peer, index, now: now) {
            peer.direct?.unanswered += 1
            peer.direct?.lastPing = now
        }
        peer.direct?.nextPing = now + Limits.pingRetry
    }

    private mutating func lose(_ peer: PeerPaths, now: MonotonicTime) {
        if let path = peer.direct?.path { peer.remotes.removeAll { $0.path == path } }
        peer.direct = nil
        actions.append(.setPath(peer.id, peer.relay))
        peer.restartSearch(now)
    }

    private func lastCheck(_ peer: PeerPaths, _ endpoint: Endpoint) -> MonotonicTime {
        peer.remotes.first { $0.candidate.endpoint == endpoint }?.pings.last?.sent ?? .zero
    }

    private mutating func jittered(_ interval: Interval) -> Interval {
        interval + .nanoseconds(UInt64.random(in: 0...(interval.nanoseconds / 4 + 1), using: &random))
    }
}
