import Addressing
package import Timing

extension RelayUplink {
    /// Does what is due at `now`.
    package mutating func poll(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        pollSilence(now: now, using: &random)
        pollTrial(now: now)
        if isUDPSpeaking {
            while let step = udp.poll(now: now, using: &random) {
                handle(step, .udp, attempt: nil, now: now, using: &random)
            }
        }
        for index in streams.indices.reversed() where index < streams.count {
            if !streams[index].isOpen {
                if streams[index].deadline <= now { drop(index, now: now, using: &random) }
                continue
            }
            let attempt = streams[index].attempt
            while let position = streams.firstIndex(where: { $0.attempt == attempt }),
                let step = streams[position].client.poll(now: now, using: &random)
            {
                handle(step, streams[position].transport, attempt: attempt, now: now, using: &random)
            }
        }
        guard active == nil else { return }
        for transport in [RelayTransport.tls, .proxy] where transports.contains(transport) {
            guard let retry = retries[transport], retry.next <= now,
                !streams.contains(where: { $0.transport == transport })
            else { continue }
            open(transport, now: now, using: &random)
        }
    }

    private mutating func open(
        _ transport: RelayTransport, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) {
        lastAttempt &+= 1
        var client = RelayClient(
            relay: endpoint, relayID: relayID, identity: identity, credential: credential, configuration.client,
            now: now)
        let hello = client.greet(now: now, using: &random)
        streams.append(
            Stream(
                attempt: lastAttempt, transport: transport, client: client, deadline: now + configuration.openTimeout))
        retries[transport]?.next = .never
        actions.append(.open(transport, attempt: lastAttempt, hello))
    }

    /// Gives a stream up, and says when the next is tried.
    mutating func drop(_ index: Int, now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        let stream = streams.remove(at: index)
        actions.append(.close(attempt: stream.attempt))
        retry(stream.transport, now: now, using: &random)
    }

    mutating func retry(
        _ transport: RelayTransport, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) {
        let failures = retries[transport]?.failures ?? 0
        let wait = wait(failures: failures, using: &random)
        retries[transport] = Retry(next: now + wait, failures: failures + 1)
    }

    // MARK: UDP while a stream serves

    private mutating func pollTrial(now: MonotonicTime) {
        guard let active, active != .udp, transports.contains(.udp) else { return }
        if udpTrialEnd != .zero, udpTrialEnd <= now {
            udpTrialEnd = .zero
            scheduleTrial(now: now)
        }
        guard nextUDPTrial <= now else { return }
        nextUDPTrial = .never
        udpTrialEnd = now + configuration.udpTrial
        udp.register(now: now)
    }

    mutating func scheduleTrial(now: MonotonicTime) {
        guard transports.contains(.udp), let last = configuration.udpRetries.last else { return }
        let wait = udpTrials < configuration.udpRetries.count ? configuration.udpRetries[udpTrials] : last
        udpTrials += 1
        nextUDPTrial = now + wait
    }

    // MARK: Silence

    /// Relay data was sent: from now on something should be heard.
    package mutating func noteSent(now: MonotonicTime) {
        if active != nil, unanswered == nil { unanswered = (now, 0) }
    }

    /// Relay data was received through this uplink. Frames that `receive` is given count by themselves.
    package mutating func noteHeard(now: MonotonicTime) {
        unanswered = nil
        guard isSuspect else { return }
        isSuspect = false
        events.append(.recovered)
    }

    var silenceTimer: MonotonicTime {
        guard let unanswered, active != nil else { return .never }
        if unanswered.probes < configuration.probes.count {
            return unanswered.since + configuration.probes[unanswered.probes]
        }
        return isSuspect ? .never : suspicion(unanswered.since)
    }

    private func suspicion(_ since: MonotonicTime) -> MonotonicTime {
        since + min(roundTrip ?? .milliseconds(250), .seconds(1)) + configuration.patience
    }

    private mutating func pollSilence(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        while let pending = unanswered, silenceTimer <= now {
            if pending.probes < configuration.probes.count {
                unanswered?.probes += 1
                probe(now: now, using: &random)
                continue
            }
            isSuspect = true
            events.append(.suspect)
            doubt(now: now)
        }
    }

    /// The client's next ping is due: it says whether the relay is gone, or has begun anew and knows us no more.
    mutating func doubt(now: MonotonicTime) {
        if active == .udp {
            udp.hasten(now: now)
        } else if let index = streams.firstIndex(where: { $0.isOpen && $0.client.isUp }) {
            streams[index].client.hasten(now: now)
        }
    }

    private mutating func probe(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        if active == .udp {
            if let ping = udp.probe(now: now, using: &random) { actions.append(.sendDatagram(ping)) }
        } else if let index = streams.firstIndex(where: { $0.isOpen && $0.client.isUp }),
            let ping = streams[index].client.probe(now: now, using: &random)
        {
            actions.append(.sendFrame(ping, attempt: streams[index].attempt))
        }
    }
}
