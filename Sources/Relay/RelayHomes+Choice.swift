package import Addressing
package import Timing

extension RelayHomes {
    /// Does what is due at `now`.
    package mutating func poll(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        for index in slots.indices {
            if slots[index].leaveAt <= now {
                slots[index].leaveAt = .never
                slots[index].shunnedUntil = now + configuration.stable
            }
            guard let uplink = slots[index].uplink, uplink.nextTimer <= now else { continue }
            slots[index].uplink?.poll(now: now, using: &random)
            settle(index, now: now, using: &random)
        }
        review(now: now)
    }

    /// A datagram of the relay's types, from the endpoint of one of the relays: which, and what it is. What is relay data is
    /// the caller's.
    package mutating func receive(
        datagram: RawSpan, from source: Endpoint, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> (relay: Int, received: RelayClient.Received)? {
        guard
            let index = targets.indices.first(where: {
                targets[$0].endpoint == source && slots[$0].uplink?.transports.contains(.udp) == true
            }),
            let received = slots[index].uplink?.receive(datagram: datagram, from: source, now: now, using: &random)
        else { return nil }
        settle(index, now: now, using: &random)
        return (index, received)
    }

    /// The same for a frame from a stream.
    package mutating func receive(
        frame: RawSpan, relay index: Int, attempt: UInt32, now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) -> RelayClient.Received {
        guard slots.indices.contains(index),
            let received = slots[index].uplink?.receive(frame: frame, attempt: attempt, now: now, using: &random)
        else { return .dropped(.unsolicited) }
        settle(index, now: now, using: &random)
        return received
    }

    /// A stream that was to be opened is open, or could not be, or has ended.
    package mutating func stream(
        isOpen: Bool, relay index: Int, attempt: UInt32, now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        guard slots.indices.contains(index), slots[index].uplink != nil else {
            if isOpen { actions.append((index, .close(attempt: attempt))) }
            return
        }
        if isOpen {
            slots[index].uplink?.opened(attempt: attempt, now: now)
        } else {
            slots[index].uplink?.closed(attempt: attempt, now: now, using: &random)
        }
        settle(index, now: now, using: &random)
    }

    /// Relay data was sent through relay `index`.
    package mutating func noteSent(_ index: Int, now: MonotonicTime) { slots[index].uplink?.noteSent(now: now) }

    /// Relay data came through relay `index` without passing `receive`.
    package mutating func noteHeard(
        _ index: Int, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) {
        guard slots[index].uplink?.isSuspect == true else {
            slots[index].uplink?.noteHeard(now: now)
            return
        }
        slots[index].uplink?.noteHeard(now: now)
        settle(index, now: now, using: &random)
    }

    /// Registers everywhere with a renewed credential.
    package mutating func renew(
        credential: [UInt8], now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) {
        self.credential = credential
        for index in slots.indices {
            slots[index].uplink?.renew(credential: credential, now: now)
            settle(index, now: now, using: &random)
        }
    }

    /// The network has changed: begins anew everywhere at once.
    package mutating func restart(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        blocked = []
        for index in slots.indices {
            slots[index].uplink?.restart(now: now)
            settle(index, now: now, using: &random)
        }
    }

    // MARK: Choice

    mutating func open(_ index: Int, now: MonotonicTime) {
        guard slots[index].uplink == nil else { return }
        let target = targets[index]
        slots[index].opened = now
        slots[index].uplink = RelayUplink(
            relay: target.endpoint, relayID: target.id, transports: target.transports, blocked: blocked,
            identity: identity, credential: credential, configuration.uplink, now: now)
    }

    private mutating func close(_ index: Int) {
        slots[index].uplink?.end()
        for action in slots[index].uplink?.takeActions() ?? [] { actions.append((index, action)) }
        slots[index].uplink = nil
        slots[index].isUp = false
    }

    /// Sees to what the uplink of relay `index` did and said.
    mutating func settle(_ index: Int, now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        for action in slots[index].uplink?.takeActions() ?? [] { actions.append((index, action)) }
        let news = slots[index].uplink?.takeEvents() ?? []
        for event in news {
            switch event {
            case .up(let transport, _):
                slots[index].isUp = true
                slots[index].upSince = min(slots[index].upSince, now)
                blocked = Set(RelayTransport.allCases.filter { $0.rawValue < transport.rawValue })
            case .down:
                slots[index].isUp = false
                slots[index].upSince = .never
                slots[index].lastDown = now
            case .suspect:
                slots[index].upSince = .never
                slots[index].lastDown = now
            case .recovered: slots[index].upSince = now
            case .draining(let span) where targets.count > 1:
                let drawn = UInt64.random(in: 0...span.nanoseconds, using: &random)
                slots[index].leaveAt = now + .nanoseconds(drawn)
            case .refused, .roundTrip, .unknownDestination, .draining: break
            }
            events.append(.relay(index, event))
        }
        if !news.isEmpty { review(now: now) }
    }

    /// Chooses the homes anew, opens what is missing and closes what is not needed.
    mutating func review(now: MonotonicTime) {
        nextReview = .never
        let candidates = slots.indices.filter { isUsable($0) && slots[$0].shunnedUntil <= now }
        // Better one that ends than none.
        let usable = candidates.isEmpty ? slots.indices.filter(isUsable) : Array(candidates)
        var chosen: [Int] = []
        if let home = home(usable, now: now) { chosen.append(home) }
        if !chosen.isEmpty {
            let others = usable.filter { !chosen.contains($0) }
            let kept = homes.filter(others.contains)
            chosen += (kept + others.filter { !kept.contains($0) }).prefix(configuration.warm - 1)
        }
        if chosen != homes {
            homes = chosen
            events.append(.homes(chosen))
        }
        fill(now: now)
        retire(now: now)
    }

    private mutating func home(_ usable: [Int], now: MonotonicTime) -> Int? {
        guard let best = usable.first else { return nil }
        guard let current = homes.first, usable.contains(current) else {
            // At the start the first choice may take a little longer than the second.
            let patience = started + configuration.preference
            if homes.isEmpty, best > 0, now < patience, slots[0].lastDown == nil {
                nextReview = min(nextReview, patience)
                return nil
            }
            return homes.first(where: usable.contains) ?? best
        }
        guard best < current else { return current }
        let stable = slots[best].upSince + configuration.stable
        if stable <= now { return best }
        nextReview = min(nextReview, stable)
        return current
    }

    /// Opens the next relays until enough are up or may soon be. Those that are down go on trying beside them.
    private mutating func fill(now: MonotonicTime) {
        var hopeful = 0
        for index in slots.indices where hopeful < configuration.warm {
            if slots[index].shunnedUntil > now {
                nextReview = min(nextReview, slots[index].shunnedUntil)
                continue
            }
            open(index, now: now)
            let patience = slots[index].opened + configuration.grace
            if isUsable(index) {
                hopeful += 1
            } else if now < patience, (slots[index].lastDown ?? .zero) <= slots[index].opened {
                nextReview = min(nextReview, patience)
                hopeful += 1
            }
        }
    }

    /// Closes uplinks beyond the homes that nobody has wanted for a while, and those to relays that have ended.
    private mutating func retire(now: MonotonicTime) {
        for index in slots.indices where slots[index].uplink != nil && !homes.contains(index) {
            if slots[index].shunnedUntil > now {
                if !slots[index].isUp, targets.count > 1 { close(index) }
                continue
            }
            guard homes.count >= configuration.warm, homes.allSatisfy({ $0 < index }) else { continue }
            let since = slots[index].lastWanted ?? started
            if now.since(since) >= configuration.unused {
                close(index)
            } else {
                nextReview = min(nextReview, since + configuration.unused)
            }
        }
    }
}
