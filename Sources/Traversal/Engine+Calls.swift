import Addressing
import Timing

// Calls: what both sides tell each other before they punch, and when to tell it again.
extension Engine {
    /// Starts looking for a direct path from the beginning: now, or a while after the last beginning. A relay or STUN
    /// server that gives another address with each answer can't make us call all peers all the time.
    mutating func restartSearch(_ peer: PeerState, now: MonotonicTime) {
        peer.search.unanswered = 0
        peer.search.attempts = 0
        peer.search.nextCall = max(now, peer.search.started.map { $0 + Limits.searchSpacing } ?? now)
        touch(peer)
    }

    /// What we are reached by has changed: who is not direct hears of it at once, the others when they ask.
    mutating func candidatesChanged(now: MonotonicTime) {
        let candidates = composedCandidates()
        guard candidates != localCandidates else { return }
        localCandidates = candidates
        if let address = reflexiveAddress { lifetimes.enter(address) }
        for peer in peers.values where peer.isActive(now) { restartSearch(peer, now: now) }
    }

    /// Sends the call that is due, and decides when the next is.
    mutating func call(_ peer: PeerState, now: MonotonicTime) {
        peer.search.nextCall = .never
        guard peer.needsDirect, peer.isActive(now) else { return }
        if peer.search.unanswered == 0 {
            peer.search.started = now
            refreshDiscovery(now: now)
        }
        let spacing =
            peer.search.unanswered < Limits.unansweredSpacing.count
            ? Limits.unansweredSpacing[peer.search.unanswered] : Limits.callSpacingAtRest
        peer.search.nextCall = now + jittered(spacing, percent: 12)
        peer.search.asked = peer.search.unanswered == 0 ? now : nil
        let isRepeated = peer.search.unanswered >= 1
        sendCall(peer, isRepeated ? [.wantsAnswer, .isRepeated] : .wantsAnswer, everywhere: isRepeated)
        peer.search.unanswered += 1
    }

    /// - Parameter everywhere: by all relays and as a signal, because one was not answered.
    mutating func sendCall(
        _ peer: PeerState, _ flags: Call.Flags, opened: Call.Opened? = nil, nextPort: UInt16 = 0,
        everywhere: Bool = false
    ) {
        var call = Call(flags, candidates: localCandidates)
        if !peer.needsDirect { call.flags.insert(.isDirect) }
        call.relayMilliseconds = relayTrip.map { UInt16(clamping: $0.nanoseconds / 1_000_000) } ?? 0
        call.behavior = behavior
        call.bindingSeconds = bindingSeconds
        call.extraSockets = UInt16(clamping: ledger.limit)
        call.nextPort = nextPort
        call.opened = opened
        let relays = everywhere ? peer.relays : peer.relay.map { [$0] } ?? []
        for relay in relays { send(peer.seal.seal(.call(call)), .relayed(relay)) }
        if everywhere || relays.isEmpty { actions.append(.signal(peer.seal.seal(.call(call)), to: peer.id)) }
    }

    mutating func handle(_ call: Call, from peer: PeerState, now: MonotonicTime) {
        guard peer.callBudget.take(1, limit: Limits.calls, now: now) else { return counters.excessCalls += 1 }
        peer.wasCalled = true
        peer.behavior = call.behavior
        peer.extraSockets = Int(call.extraSockets)
        peer.relayTrip = call.relayMilliseconds > 0 ? .milliseconds(UInt64(call.relayMilliseconds)) : nil
        learnBinding(call.bindingSeconds, of: peer, now: now)
        if call.nextPort > 0 { peer.nextPort = (call.nextPort, now) }
        name(call.candidates, of: peer, now: now)
        let answers = call.flags.contains(.wantsAnswer)
        if answers {
            refreshDiscovery(now: now)
            sendCall(peer, [], everywhere: call.flags.contains(.isRepeated))
        }
        if peer.needsDirect { settleSearch(peer, wasAsked: answers, now: now) }
        if let opened = call.opened { answer(opened, from: peer, now: now) }
        if peer.needsDirect || !call.flags.contains(.isDirect) {
            beginPunch(peer, answering: answers, now: now)
        }
        planMore(peer, now: now)
        touch(peer)
    }

    /// Both know of each other: the next attempt is a re-upgrade.
    private mutating func settleSearch(_ peer: PeerState, wasAsked: Bool, now: MonotonicTime) {
        let isNear = peer.search.nextCall == .never || peer.search.nextCall < now + .seconds(3)
        guard peer.search.unanswered > 0 || wasAsked && isNear else { return }
        peer.search.unanswered = 0
        peer.search.asked = nil
        let spacing =
            peer.search.attempts < Limits.upgradeSpacing.count
            ? jittered(Limits.upgradeSpacing[peer.search.attempts], percent: 12)
            : jittered(Limits.callSpacingAtRest, percent: 50)
        peer.search.attempts += 1
        peer.search.nextCall = now + spacing
    }

    /// What the peer may be reached at from now on.
    private mutating func name(_ candidates: [Candidate], of peer: PeerState, now: MonotonicTime) {
        var named: [PeerState.Remote] = []
        for candidate in candidates {
            let endpoint = candidate.endpoint
            guard !endpoint.address.isIPv6 || configuration.hasIPv6 else { continue }
            guard !configuration.policy.refuses(endpoint) else {
                counters.refusedTargets += 1
                continue
            }
            let kind = candidate.kind == .peerReflexive ? .serverReflexive : candidate.kind
            named.append(PeerState.Remote(kind, Route(.home(for: endpoint.address), endpoint)))
        }
        // Those on the same network and IPv6 first: they are the better paths, and what is pinged first is found first.
        named.sort { $0.tier < $1.tier }
        counters.overBudget += UInt64(peer.setNamed(named, now: now))
    }
}
