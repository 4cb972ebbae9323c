package import Addressing
package import Timing

extension RelayUplink {
    /// A datagram of the relay's types from its endpoint. What is relay data is the caller's.
    package mutating func receive(
        datagram: RawSpan, from source: Endpoint, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> RelayClient.Received {
        let received = udp.receive(datagram, from: source, now: now, using: &random)
        switch received {
        case .control(let step):
            if active == .udp { noteHeard(now: now) }
            handle(step, .udp, attempt: nil, now: now, using: &random)
        case .data where active == .udp: noteHeard(now: now)
        case .data, .dropped: break
        }
        return received
    }

    /// A frame from the stream of this attempt. What is relay data is the caller's.
    package mutating func receive(
        frame: RawSpan, attempt: UInt32, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> RelayClient.Received {
        guard let index = streams.firstIndex(where: { $0.attempt == attempt }) else { return .dropped(.unsolicited) }
        let received = streams[index].client.receive(frame, from: endpoint, now: now, using: &random)
        switch received {
        case .control(let step):
            if activeStream == attempt { noteHeard(now: now) }
            handle(step, streams[index].transport, attempt: attempt, now: now, using: &random)
        case .data where activeStream == attempt: noteHeard(now: now)
        case .data, .dropped: break
        }
        return received
    }

    /// The stream of this attempt is open; its hello was in the request.
    package mutating func opened(attempt: UInt32, now: MonotonicTime) {
        guard let index = streams.firstIndex(where: { $0.attempt == attempt }) else {
            actions.append(.close(attempt: attempt))
            return
        }
        streams[index].isOpen = true
        streams[index].client.greeted(now: now, patience: configuration.openTimeout)
    }

    /// The stream of this attempt could not be opened, or has ended.
    package mutating func closed(
        attempt: UInt32, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) {
        guard let index = streams.firstIndex(where: { $0.attempt == attempt }) else { return }
        let wasActive = activeStream == attempt
        let transport = streams.remove(at: index).transport
        if wasActive { goDown(now: now, using: &random) } else { retry(transport, now: now, using: &random) }
    }

    /// Renews the registration with another credential, without going down.
    package mutating func renew(credential: [UInt8], now: MonotonicTime) {
        self.credential = credential
        if active == .udp || active == nil { udp.register(credential: credential, now: now) }
        for index in streams.indices where streams[index].isOpen {
            streams[index].client.register(credential: credential, now: now)
        }
    }

    /// The network has changed: begins anew, without waiting out any pause.
    package mutating func restart(blocked: Set<RelayTransport> = [], now: MonotonicTime) {
        for stream in streams { actions.append(.close(attempt: stream.attempt)) }
        streams = []
        if active != nil {
            leave()
            events.append(.down)
        }
        retries = [:]
        udpTrials = 0
        race(blocked: blocked, now: now)
    }

    /// Closes what is open: the uplink is not used any more.
    package mutating func end() {
        for stream in streams { actions.append(.close(attempt: stream.attempt)) }
        streams = []
        leave()
    }

    /// What a client's step means; `attempt` names the stream, nil is UDP.
    mutating func handle(
        _ step: RelayClient.Step, _ transport: RelayTransport, attempt: UInt32?, now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        if let bytes = step.send {
            actions.append(attempt.map { .sendFrame(bytes, attempt: $0) } ?? .sendDatagram(bytes))
            // UDP works: a stream that has not registered yet is not needed.
            if transport == .udp, bytes.first == FrameType.proof.rawValue, active == nil { abandonStreams() }
        }
        switch step.event {
        case .up(let observed): becomeUp(transport, attempt, observed, now: now)
        case .down:
            if let attempt {
                let wasActive = active == transport
                streams.removeAll { $0.attempt == attempt }
                actions.append(.close(attempt: attempt))
                if wasActive { goDown(now: now, using: &random) } else { retry(transport, now: now, using: &random) }
            } else if active == .udp {
                goDown(now: now, using: &random)
            }
        case .refused(let code): events.append(.refused(code))
        case .roundTrip(let interval): events.append(.roundTrip(interval))
        case .unknownDestination(let agent): events.append(.unknownDestination(agent))
        case .draining(let span): events.append(.draining(within: span))
        case nil: break
        }
    }

    private mutating func abandonStreams() {
        // Its proof may overtake ours at the relay: a ping tells.
        needsCheck = needsCheck || streams.contains { $0.client.isProving }
        for stream in streams { actions.append(.close(attempt: stream.attempt)) }
        streams = []
        for transport in [RelayTransport.tls, .proxy] where transports.contains(transport) {
            // In case UDP's proof comes to nothing.
            retries[transport] = Retry(next: retryAfterAbandon, failures: retries[transport]?.failures ?? 0)
        }
    }

    private var retryAfterAbandon: MonotonicTime { udp.nextTimer + configuration.client.firstRetry * 2 }

    private mutating func becomeUp(
        _ transport: RelayTransport, _ attempt: UInt32?, _ observed: Endpoint, now: MonotonicTime
    ) {
        let isNew = active != transport
        active = transport
        if isNew { upSince = now }
        // The relay has one registration of ours, and this is it.
        for stream in streams where stream.attempt != attempt { actions.append(.close(attempt: stream.attempt)) }
        streams.removeAll { $0.attempt != attempt }
        udpTrialEnd = .zero
        if transport == .udp {
            nextUDPTrial = .never
            udpTrials = 0
            if needsCheck { udp.hasten(now: now + .milliseconds(500)) }
            needsCheck = false
        } else if isNew {
            scheduleTrial(now: now)
        }
        noteHeard(now: now)
        events.append(.up(transport, observed: observed))
    }

    private mutating func goDown(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        let hasSettled = now.since(upSince) >= configuration.settled
        leave()
        events.append(.down)
        for transport in [RelayTransport.tls, .proxy] where transports.contains(transport) {
            if hasSettled { retries[transport]?.failures = 0 }
            retry(transport, now: now, using: &random)
        }
        // UDP that went down by itself has begun anew.
        if transports.contains(.udp), !udp.isGreeting { udp.register(now: now) }
    }

    private mutating func leave() {
        active = nil
        isSuspect = false
        unanswered = nil
        upSince = .never
        udpTrialEnd = .zero
        nextUDPTrial = .never
    }
}
