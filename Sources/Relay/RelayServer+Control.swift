import Addressing
import STUN
import Sodium
import Timing

extension RelayServer {
    mutating func receiveControl(
        _ datagram: RawSpan, from source: RelayLink, now: MonotonicTime, wall: WallTime
    ) -> Action {
        do throws(FrameFault) {
            switch try FrameHeader(datagram).type {
            case .hello: return try receiveHello(datagram, from: source, now: now)
            case .proof: return try receiveProof(datagram, from: source, now: now, wall: wall)
            case .ping: return try receivePing(datagram, from: source, now: now)
            case .challenge, .accepted, .error, .pong, .drain: return drop(.unexpectedType)
            default: return drop(.unknownType)
            }
        } catch {
            return drop(fault: error)
        }
    }

    private mutating func receiveHello(
        _ datagram: RawSpan, from source: RelayLink, now: MonotonicTime
    ) throws(FrameFault) -> Action {
        let hello = try Hello(datagram)
        guard allowsHandshake(source, now: now) else { return drop(.sourceRateLimited) }
        let cookie = cookies.issue(to: source, agent: hello.agent, now: now)
        return reply(Challenge(agent: hello.agent, nonce: hello.nonce, cookie: cookie, observed: source.endpoint).bytes)
    }

    /// The cheap checks come first: nobody can make the relay verify a signature for an address that is not theirs.
    private mutating func receiveProof(
        _ datagram: RawSpan, from source: RelayLink, now: MonotonicTime, wall: WallTime
    ) throws(FrameFault) -> Action {
        let proof = try Proof(datagram)
        let header = try FrameHeader(datagram)
        switch cookies.verify(proof.cookie, from: source, agent: proof.agent, now: now) {
        case .valid: break
        case .foreign: return refuseUnproven(header, nonce: proof.nonce, .foreignCookie, .badCookie, source, now)
        case .expired: return refuseUnproven(header, nonce: proof.nonce, .expiredCookie, .badCookie, source, now)
        }
        guard allowsHandshake(source, now: now) else { return drop(.sourceRateLimited) }

        let present = table.slot(of: proof.agent).flatMap { table[$0].isLive(at: now) ? table[$0] : nil }
        if let present, proof.cookie.issued <= present.proven {
            // The same proof again: its answer was lost. Anything else with an old cookie is a replay.
            guard proof.cookie.issued == present.proven, source == present.link else { return drop(.staleProof) }
            return accept(proof, epoch: present.epoch, source)
        }
        // Who held this link before must not get it back by a proof from before it changed hands.
        if let slot = table.slot(at: source), table[slot].isLive(at: now), proof.cookie.issued <= table[slot].proven {
            return drop(.staleProof)
        }
        guard proofs.take(1, limit: configuration.proofLimit, now: now) else {
            return refuseUnproven(header, nonce: proof.nonce, .proofRateLimited, .busy, source, now)
        }
        guard AgentID(identityKey: proof.identityKey) == proof.agent else {
            return refuseUnproven(header, nonce: proof.nonce, .foreignIdentity, .refused, source, now)
        }
        let message = Proof.signedBytes(relay: relay, cookie: proof.cookie, observed: source.endpoint)
        guard Ed25519.verify(proof.signature, of: message, by: proof.identityKey) else {
            return refuseUnproven(header, nonce: proof.nonce, .badSignature, .refused, source, now)
        }
        guard let credential = verifyCredential(proof.credential, wall), credential.identityKey == proof.identityKey,
            wall < credential.expiry
        else { return refuseUnproven(header, nonce: proof.nonce, .badCredential, .refused, source, now) }

        // From where it was, an agent renews under its epoch, so that no packet under way is lost.
        let epoch = present.flatMap { $0.link == source ? $0.epoch : nil } ?? nextEpoch()
        let registration = Registration(
            agent: proof.agent, link: source, epoch: epoch, proven: proof.cookie.issued,
            idleDeadline: now + configuration.registrationLifetime,
            credentialExpiry: now + Self.interval(from: wall, to: credential.expiry),
            packets: present?.packets ?? TokenBucket(full: configuration.packetLimit, now: now),
            bytes: present?.bytes ?? TokenBucket(full: configuration.byteLimit, now: now),
            pings: present?.pings ?? TokenBucket(full: configuration.pingLimit, now: now),
            errors: present?.errors ?? TokenBucket(full: configuration.errorLimit, now: now))
        guard table.insert(registration) else {
            return refuseUnproven(header, nonce: proof.nonce, .tableFull, .busy, source, now)
        }
        counters.registrations += 1
        return accept(proof, epoch: epoch, source)
    }

    /// Streams are limited one by one where they are accepted: behind an ingress all come from one address.
    private mutating func allowsHandshake(_ source: RelayLink, now: MonotonicTime) -> Bool {
        source.isStream || sources.allows(source.endpoint.address, now: now)
    }

    private mutating func receivePing(
        _ datagram: RawSpan, from source: RelayLink, now: MonotonicTime
    ) throws(FrameFault) -> Action {
        let ping = try Ping(datagram)
        let header = try FrameHeader(datagram)
        guard let slot = table.slot(at: source), table[slot].isLive(at: now) else {
            return refuseUnproven(header, nonce: ping.nonce, .notRegistered, .notRegistered, source, now)
        }
        guard table[slot].agent == ping.agent else {
            return refuse(header, nonce: ping.nonce, .foreignAgent, .notRegistered, slot, now)
        }
        guard table[slot].epoch == ping.epoch else {
            return refuse(header, nonce: ping.nonce, .staleEpoch, .notRegistered, slot, now)
        }
        guard table[slot].pings.take(1, limit: configuration.pingLimit, now: now) else {
            return drop(.pingRateLimited)
        }
        table[slot].idleDeadline = now + configuration.registrationLifetime
        return reply(ping.pongBytes)
    }

    private mutating func accept(_ proof: Proof, epoch: UInt8, _ source: RelayLink) -> Action {
        let lifetime = UInt16(clamping: Int(configuration.registrationLifetime.seconds))
        return reply(
            Accepted(
                agent: proof.agent, epoch: epoch, nonce: proof.nonce, observed: source.endpoint, lifetime: lifetime
            ).bytes)
    }

    /// 1…255, another for each registration in a row.
    private mutating func nextEpoch() -> UInt8 {
        lastEpoch = lastEpoch % 255 + 1
        return lastEpoch
    }

    private static func interval(from start: WallTime, to end: WallTime) -> Interval {
        // At most a day, for which it is exact enough that wall clock and monotonic clock drift apart.
        .seconds(UInt64(clamping: min(max(end.seconds - start.seconds, 0), 86_400)))
    }

    /// Counts `reason` and answers with an error, as far as the source's address has answers left.
    mutating func refuseUnproven(
        _ header: FrameHeader, nonce: UInt64?, _ reason: DropReason, _ code: RelayErrorCode, _ source: RelayLink,
        _ now: MonotonicTime
    ) -> Action {
        guard unprovenErrors.allows(source.endpoint.address, now: now) else { return drop(reason) }
        return error(header, nonce: nonce, reason, code)
    }

    /// Counts `reason` and answers with an error, as far as the client has answers left.
    mutating func refuse(
        _ header: FrameHeader, nonce: UInt64?, _ reason: DropReason, _ code: RelayErrorCode, _ slot: Int,
        _ now: MonotonicTime
    ) -> Action {
        guard table[slot].errors.take(1, limit: configuration.errorLimit, now: now) else { return drop(reason) }
        return error(header, nonce: nonce, reason, code)
    }

    private mutating func error(
        _ header: FrameHeader, nonce: UInt64?, _ reason: DropReason, _ code: RelayErrorCode
    ) -> Action {
        counters.drops.count(reason)
        return reply(RelayErrorFrame(code: code, epoch: header.epoch, agent: header.agent, nonce: nonce).bytes)
    }

    private mutating func reply(_ bytes: [UInt8]) -> Action {
        counters.replies += 1
        return .reply(bytes)
    }

    mutating func drop(_ reason: DropReason) -> Action {
        counters.drops.count(reason)
        return .drop(reason)
    }

    mutating func drop(fault: FrameFault) -> Action {
        switch fault {
        case .foreign: drop(.foreign)
        case .truncated: drop(.truncated)
        case .unknownVersion: drop(.unknownVersion)
        }
    }
}
