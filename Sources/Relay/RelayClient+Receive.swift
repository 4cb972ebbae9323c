package import Addressing
import Sodium
package import Timing

extension RelayClient {
    /// What a datagram from `source` is: relay data to unwrap, or control that was handled, or nothing for us.
    package mutating func receive(
        _ datagram: RawSpan, from source: Endpoint, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> Received {
        guard source == relay else { return drop(.foreignSource) }
        let header: FrameHeader
        do throws(FrameFault) {
            header = try FrameHeader(datagram)
            if header.type == .data {
                guard epoch != 0, header.epoch == epoch else { return drop(.staleEpoch) }
                return .data(source: header.agent, payload: FrameHeader.size..<datagram.byteCount)
            }
            switch header.type {
            case .challenge: return receiveChallenge(try Challenge(datagram), now: now, using: &random)
            case .accepted: return receiveAccepted(try Accepted(datagram), now: now, using: &random)
            case .error: return receiveError(try RelayErrorFrame(datagram), now: now, using: &random)
            case .pong: return receivePong(try Ping(datagram), now: now, using: &random)
            case .drain:
                let drain = try Drain(datagram)
                guard isUp, drain.agent == identity.agent, drain.epoch == epoch else { return drop(.unsolicited) }
                return .control(Step(event: .draining(within: .seconds(UInt64(drain.seconds)))))
            case .hello, .proof, .ping: return drop(.unexpectedType)
            default: return drop(.unknownType)
            }
        } catch {
            switch error {
            case .foreign: return drop(.foreign)
            case .truncated: return drop(.truncated)
            case .unknownVersion: return drop(.unknownVersion)
            }
        }
    }

    private mutating func receiveChallenge(
        _ challenge: Challenge, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> Received {
        guard case .greeting(_, let attempts) = phase, attempts > 0, challenge.nonce == nonce,
            challenge.agent == identity.agent
        else { return drop(.unsolicited) }
        let message = Proof.signedBytes(relay: relayID, cookie: challenge.cookie, observed: challenge.observed)
        let proof = Proof(
            agent: identity.agent, nonce: nonce, cookie: challenge.cookie, identityKey: identity.key,
            signature: identity.sign(message), credential: credential)
        let retry = now + delay(attempts: 0, using: &random)
        phase = .proving(proof, sent: now, retry: retry, attempts: 1)
        return .control(Step(send: proof.bytes))
    }

    private mutating func receiveAccepted(
        _ accepted: Accepted, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> Received {
        guard case .proving(_, let sent, _, let attempts) = phase, accepted.nonce == nonce,
            accepted.agent == identity.agent, accepted.epoch != 0, accepted.lifetime >= 2
        else { return drop(.unsolicited) }
        phase = .registered
        epoch = accepted.epoch
        observed = accepted.observed
        lifetime = .seconds(UInt64(accepted.lifetime))
        isUp = true
        pings = []
        if attempts == 1 { roundTrip = now.since(sent) }
        scheduleKeepalive(now: now, using: &random)
        return .control(Step(event: .up(observed: accepted.observed)))
    }

    private mutating func receivePong(
        _ pong: Ping, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> Received {
        guard let ping = (pings + probes).first(where: { $0.nonce == pong.nonce }), pong.agent == identity.agent,
            pong.epoch == epoch, phase == .registered
        else { return drop(.unsolicited) }
        pings = []
        probes = []
        let measured = now.since(ping.sent)
        roundTrip = measured
        scheduleKeepalive(now: now, using: &random)
        return .control(Step(event: .roundTrip(measured)))
    }

    private mutating func receiveError(
        _ error: RelayErrorFrame, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> Received {
        switch (error.code, phase) {
        case (.unknownDestination, _):
            guard isUp, error.epoch == epoch else { return drop(.unsolicited) }
            return .control(Step(event: .unknownDestination(error.agent)))
        case (.notRegistered, .registered):
            // The answer to relay data has no nonce, so anybody could send it: it makes us ask, once a second, and no more.
            let isOfPing = (pings + probes).contains { $0.nonce == error.nonce }
            guard error.epoch == epoch, isOfPing || lastUnprompted.map({ now.since($0) >= .seconds(1) }) ?? true else {
                return drop(.unsolicited)
            }
            lastUnprompted = now
            register(now: now)
            return .control(poll(now: now, using: &random) ?? Step())
        case (.badCookie, .proving) where error.nonce == nonce:
            register(now: now + configuration.firstRetry)
            return .control(Step())
        case (_, .proving) where error.nonce == nonce:
            let retry = now + delay(attempts: 10, using: &random)
            nonce = random.next()
            phase = .greeting(retry: retry, attempts: configuration.pingTries)
            guard isUp else { return .control(Step(event: .refused(error.code))) }
            isUp = false
            return .control(Step(event: .down(.refused(error.code))))
        default: return drop(.unsolicited)
        }
    }

    private mutating func scheduleKeepalive(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        let span = configuration.keepalive
        let drawn = UInt64.random(in: span.lowerBound.nanoseconds...span.upperBound.nanoseconds, using: &random)
        nextPing = now + min(.nanoseconds(drawn), lifetime / 2)
    }

    private mutating func drop(_ reason: DropReason) -> Received {
        drops.count(reason)
        return .dropped(reason)
    }
}
