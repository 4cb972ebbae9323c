import Addressing
import Timing

// Keepalives: one way, both ends in turn, as rarely as their NATs allow; nothing for a peer that is not used.
//
// A keepalive that comes in after a silence shows that our NAT has kept the binding for so long. So what keeps the path open
// measures as well: who wants to know whether more would do asks the peer for a longer silence. While that is longer than
// is known to be safe the path is dormant: data goes by the relay, and the path is asked at once.
extension Engine {
    /// How long our NAT keeps a binding, in seconds, as far as it was measured; 0 when it was not.
    package var bindingSeconds: UInt16 { lifetimes[PeerState.Remote.worstTier].known }

    mutating func startKeeping(_ peer: PeerState, now: MonotonicTime) {
        peer.keeping = Keeping()
        peer.keeping.isOurTurn = localID < peer.id
        if peer.direct?.tier == PeerState.Remote.worstTier { peer.keeping.peerKnown = peer.bindingSeconds }
        scheduleKeeping(peer, now: now)
    }

    /// What the peer says of its NAT.
    mutating func learnBinding(_ seconds: UInt16, of peer: PeerState, now: MonotonicTime) {
        guard seconds != peer.bindingSeconds else { return }
        peer.bindingSeconds = seconds
        guard peer.direct?.tier == PeerState.Remote.worstTier else { return }
        peer.keeping.peerKnown = seconds
        scheduleKeeping(peer, now: now)
    }

    /// For which silence the path is known to be safe.
    private func safeSeconds(_ peer: PeerState, _ direct: PeerState.Direct) -> UInt16 {
        let own = BindingLifetime.effective(lifetimes[direct.tier].known)
        // No peer makes us send more often than the shortest step needs.
        return max(min(own, BindingLifetime.effective(peer.keeping.peerKnown)), BindingLifetime.steps[0])
    }

    /// When something is due, if nothing comes or goes until then.
    private func dueAt(_ peer: PeerState, _ direct: PeerState.Direct) -> MonotonicTime {
        max(direct.lastTraffic + patience(peer, direct), peer.keeping.peerRestsUntil)
    }

    /// The silence that is waited for.
    private func patience(_ peer: PeerState, _ direct: PeerState.Direct) -> Interval {
        let safe = safeSeconds(peer, direct)
        let seconds = min(peer.keeping.isOurTurn ? peer.keeping.peerWants : peer.keeping.wanted, 600)
        let silence = seconds > 0 ? .seconds(UInt64(seconds)) : BindingLifetime.spacing(safe)
        return peer.keeping.isOurTurn ? silence : silence + BindingLifetime.slack(safe)
    }

    /// Nil where there is no relay that data could go by instead.
    private func dormantAt(_ peer: PeerState, _ direct: PeerState.Direct) -> MonotonicTime? {
        guard !peer.keeping.isDormant, peer.relay != nil else { return nil }
        return direct.lastTraffic + .seconds(UInt64(safeSeconds(peer, direct)) + 1)
    }

    mutating func scheduleKeeping(_ peer: PeerState, now: MonotonicTime) {
        peer.keeping.next = .never
        guard let direct = peer.direct, peer.degradedSince == nil else { return }
        let due = peer.keeping.question == nil ? dueAt(peer, direct) : peer.keeping.askAgainAt
        peer.keeping.next = min(due, peer.keeping.confirmAt, peer.keeping.openerAt, dormantAt(peer, direct) ?? .never)
        touch(peer)
    }

    mutating func keep(_ peer: PeerState, now: MonotonicTime) {
        peer.keeping.next = .never
        guard let direct = peer.direct, peer.degradedSince == nil else { return }
        if now.since(max(peer.lastSent, peer.lastHeard)) >= Limits.keepsIdlePathFor { return dropDirect(peer) }
        if let time = dormantAt(peer, direct), time <= now {
            peer.keeping.isDormant = true
            publish(peer)
        }
        if let question = peer.keeping.question {
            if peer.keeping.askAgainAt <= now { ask(peer, question, now: now) }
        } else if dueAt(peer, direct) <= now {
            if peer.keeping.isOurTurn {
                let measures = peer.keeping.peerWants > 0
                if measures, peer.behavior.remapsAfterUnsolicited != false {
                    peer.keeping.openerAt = now + Keeping.openerAfter
                    peer.keeping.peerRestsUntil = now + Keeping.peerRest
                }
                sendKeepalive(peer, measures ? .asks : .plain, on: direct.route, now: now)
            } else if peer.keeping.wanted > 0 {
                lapsed(peer, peer.keeping.wanted, now: now)
            } else {
                ask(peer, .missing, now: now)
            }
        } else if peer.keeping.confirmAt <= now {
            sendKeepalive(peer, .plain, on: direct.route, now: now)
        }
        if peer.keeping.confirmAt <= now { peer.keeping.confirmAt = .never }
        if peer.keeping.openerAt <= now {
            peer.keeping.openerAt = .never
            let opener = peer.seal.seal(.ping(transaction: random.next()))
            send(opener, .direct(direct.route), SendOptions(hops: openerHops))
        }
        scheduleKeeping(peer, now: now)
    }

    private mutating func sendKeepalive(
        _ peer: PeerState, _ kind: Keepalive.Kind, on route: Route, now: MonotonicTime
    ) {
        guard let tier = peer.direct?.tier else { return }
        // While what is known does not hold, it is no time for more.
        let mayMeasure = measures(peer) && peer.keeping.question == nil && peer.keeping.missed == 0
        let wanted = mayMeasure ? lifetimes.claim(tier, by: peer.id, now: now) : 0
        let keepalive = Keepalive(kind, known: lifetimes[tier].known, wanted: wanted)
        send(peer.seal.seal(.keepalive(keepalive)), .direct(route))
        peer.keeping.wanted = wanted
        peer.keeping.isOurTurn = kind == .answers
        if kind != .answers { peer.keeping.peerWants = 0 }
        peer.direct?.lastTraffic = now
    }

    /// Whether a binding of this path that does not last does no more harm than a new one would: where a NAT gives each
    /// destination another port, the path would be gone.
    private func measures(_ peer: PeerState) -> Bool {
        guard let direct = peer.direct, direct.route.socket.isHome else { return false }
        // More than the peer's NAT keeps would not be used.
        let (own, other) = (BindingLifetime.effective(lifetimes[direct.tier].known), peer.keeping.peerKnown)
        guard other == 0 || own <= other else { return false }
        return direct.tier < PeerState.Remote.worstTier || behavior.hasOneMapping && peer.behavior.hasOneMapping
    }

    // MARK: Asking

    /// Nothing came, or there is data and nobody knows: asks, again after a while, and in the end looks for a path anew.
    private mutating func ask(_ peer: PeerState, _ question: Keeping.Question, now: MonotonicTime) {
        guard let direct = peer.direct else { return }
        guard peer.keeping.unanswered < question.tries else {
            if case .wanted(let step) = question { lifetimes[direct.tier].lapsed(step, now: now) }
            dropDirect(peer)
            sendCall(peer, .wantsAnswer)
            return restartSearch(peer, now: now)
        }
        peer.keeping.question = question
        peer.keeping.unanswered += 1
        peer.keeping.askAgainAt = now + question.spacing
        sendKeepalive(peer, .asks, on: direct.route, now: now)
    }

    /// The keepalive did not come that was to show whether our binding outlives so much.
    private mutating func lapsed(_ peer: PeerState, _ step: UInt16, now: MonotonicTime) {
        if behavior.remapsAfterUnsolicited == false || peer.direct?.tier != PeerState.Remote.worstTier {
            return ask(peer, .wanted(step), now: now)
        }
        peer.keeping.question = .wanted(step)
        peer.keeping.askAgainAt = now + Keeping.rest
    }

    /// Data goes by the relay because nobody knows whether the path is still there.
    mutating func wake(_ peer: PeerState, now: MonotonicTime) {
        guard peer.keeping.isDormant, peer.keeping.question != .data, peer.degradedSince == nil else { return }
        peer.keeping.unanswered = 0
        ask(peer, .data, now: now)
        scheduleKeeping(peer, now: now)
    }

    /// Something authentic came in on the path.
    mutating func keepingHeard(_ peer: PeerState, now: MonotonicTime) {
        guard let direct = peer.direct, peer.keeping.isDormant || peer.keeping.question != nil else { return }
        switch peer.keeping.question {
        case .wanted(let step): lifetimes[direct.tier].lapsed(step, now: now)
        case .missing:
            peer.keeping.missed += 1
            if peer.keeping.missed >= 2 {
                peer.keeping.missed = 0
                lifetimes[direct.tier].shortened(now: now)
            }
        case .data, nil: break
        }
        if peer.keeping.question != nil { peer.keeping.confirmAt = now + Keeping.confirmAfter }
        peer.keeping.question = nil
        peer.keeping.unanswered = 0
        peer.keeping.openerAt = .never
        peer.keeping.peerRestsUntil = .zero
        peer.keeping.isDormant = false
        publish(peer)
        scheduleKeeping(peer, now: now)
    }

    // MARK: What comes in

    /// - Parameter silence: how long the path had been silent.
    mutating func receive(
        _ keepalive: Keepalive, of peer: PeerState, on way: Way, after silence: Interval, now: MonotonicTime
    ) {
        guard case .direct(let route) = way else { return }
        guard let direct = peer.direct, direct.route == route else {
            // A path that we do not know, or have given up.
            guard !configuration.policy.refuses(route.remote) else { return }
            if keepalive.kind == .asks { send(peer.seal.seal(.keepalive(Keepalive(.answers))), way) }
            return carriedElsewhere(peer, route, now: now)
        }
        if keepalive.kind != .answers {
            // One that comes soon after another was prompted by it, or by what we asked: it shows nothing.
            let safe = safeSeconds(peer, direct)
            if silence + BindingLifetime.slack(safe) >= BindingLifetime.spacing(safe) { peer.keeping.missed = 0 }
            if measures(peer), let tier = peer.direct?.tier { lifetimes[tier].survived(silence, now: now) }
        }
        peer.keeping.openerAt = .never
        peer.keeping.peerRestsUntil = .zero
        peer.keeping.peerKnown = keepalive.known
        peer.keeping.peerWants = keepalive.wanted
        switch keepalive.kind {
        // Two that crossed would go on crossing: each would come through because the other was just sent, and show nothing.
        case .plain: peer.keeping.isOurTurn = silence > Keeping.crossing || localID < peer.id
        case .asks: sendKeepalive(peer, .answers, on: route, now: now)
        case .answers: peer.keeping.isOurTurn = false
        }
        scheduleKeeping(peer, now: now)
    }
}
