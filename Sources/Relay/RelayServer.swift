package import Addressing
package import STUN
package import Sodium
package import Timing

/// Who a credential is about, once it is verified.
package struct VerifiedCredential: Hashable, Sendable {
    package var identityKey: Ed25519.PublicKey
    package var expiry: WallTime

    package init(identityKey: Ed25519.PublicKey, expiry: WallTime) {
        self.identityKey = identityKey
        self.expiry = expiry
    }
}

/// A relay, as a state machine: forwards opaque payloads between agents that have proven who and where they are.
///
/// `receive` takes each datagram of its socket and says what to do with it; relay data is rewritten in place, with no
/// copy and no allocation. Nothing is forwarded, and no state kept, for an unproven source; no answer is larger than its
/// question. It answers STUN on the same socket. A relay reads no payload and holds no key but its cookie secrets.
///
/// What it does not stop: who can forge the source address of a registered agent and guess its epoch can send in its
/// name. Payloads are WireGuard's and probes', which authenticate themselves. Not safe for concurrent use.
package struct RelayServer: ~Copyable {
    package struct Configuration: Sendable {
        package var maximumClients = 10_000
        /// A registration ends after this long without data or pings.
        package var registrationLifetime = Interval.seconds(60)
        package var cookieLifetime = Interval.seconds(30)
        /// Relay data per client.
        package var packetLimit = TokenBucket.Limit(perSecond: 200_000, burst: 50_000)
        package var byteLimit = TokenBucket.Limit(perSecond: 250_000_000, burst: 32_000_000)
        /// An agent that only sends through the relay asks ten times a second whether it is there.
        package var pingLimit = TokenBucket.Limit(perSecond: 20, burst: 40)
        /// Errors per client, and per address that has proven nothing. Apart from the limits for what they answer, so
        /// that an agent which sends on after a relay's restart does not use up its own way back in.
        package var errorLimit = TokenBucket.Limit(perSecond: 10, burst: 20)
        /// Hellos and proofs per address; many agents may share one behind a NAT.
        package var sourceLimit = TokenBucket.Limit(perSecond: 64, burst: 512)
        /// Proofs in all: two signatures to verify for each.
        package var proofLimit = TokenBucket.Limit(perSecond: 2_000, burst: 2_000)
        package var stun = BindingServer.Configuration()

        package init() {}
    }

    package enum Action: Equatable, Sendable {
        /// Send the datagram, which was rewritten in place and has its old length, through this link.
        case forward(to: RelayLink)
        /// Send these bytes to where the datagram came from.
        case reply([UInt8])
        case drop(DropReason)
    }

    /// Checks a credential's chain offline; nil unless it is one of a member of the mesh at this time.
    package typealias CredentialVerifier = @Sendable (_ credential: [UInt8], _ now: WallTime) -> VerifiedCredential?

    package internal(set) var counters = RelayCounters()
    package private(set) var stun: BindingServer
    let configuration: Configuration
    let relay: AgentID
    let verifyCredential: CredentialVerifier
    var cookies: CookieIssuer
    var table: RegistrationTable
    var sources: SourceLimiter
    var unprovenErrors: SourceLimiter
    var proofs: TokenBucket
    private var recent = RecentSlots()
    /// Where the next registration's epoch begins; see `nextEpoch`.
    var lastEpoch: UInt8

    /// `relay` is the id that agents know this relay by, from the directory: what their signatures are for.
    package init(
        relay: AgentID, _ configuration: Configuration = Configuration(), now: MonotonicTime,
        using random: inout some RandomNumberGenerator, verifyCredential: @escaping CredentialVerifier
    ) throws(SodiumError) {
        self.relay = relay
        self.configuration = configuration
        self.verifyCredential = verifyCredential
        // No cookie outlives the registration whose time refuses it a second use.
        cookies = try CookieIssuer(
            lifetime: min(configuration.cookieLifetime, configuration.registrationLifetime), now: now,
            using: &random)
        table = RegistrationTable(capacity: configuration.maximumClients)
        sources = SourceLimiter(limit: configuration.sourceLimit, now: now, using: &random)
        unprovenErrors = SourceLimiter(limit: configuration.errorLimit, now: now, using: &random)
        proofs = TokenBucket(full: configuration.proofLimit, now: now)
        stun = BindingServer(configuration.stun, now: now, using: &random)
        lastEpoch = UInt8(truncatingIfNeeded: random.next())
    }

    /// Whose datagram was forwarded last: a small number that is one registration's as long as it lasts.
    package private(set) var lastFlow = 0

    /// How many agents are registered.
    package var clientCount: Int { table.count }

    /// Answers of STUN.
    package var stunAnswers: UInt64 { stun.answered }

    /// The links that agents are registered on.
    package var links: [RelayLink] { table.agents.compactMap { link(of: $0) } }

    /// The link that `agent` is registered on.
    package func link(of agent: AgentID) -> RelayLink? { table.slot(of: agent).map { table[$0].link } }

    /// Whether a datagram is to be handled ahead of relay data, so that a flood of data starves no registration.
    package static func isControl(_ datagram: RawSpan) -> Bool {
        datagram.bigEndian(UInt8.self, at: 0) != FrameType.data.rawValue
    }

    /// What to do with `datagram`, which came from `source` and is exactly as long as the buffer.
    package mutating func receive(
        _ datagram: UnsafeMutableRawBufferPointer, from source: RelayLink, now: MonotonicTime, wall: WallTime
    ) -> Action {
        guard let first = unsafe datagram.first else { return drop(.empty) }
        if first == FrameType.data.rawValue { return unsafe forward(datagram, from: source, now: now) }
        let bytes = unsafe datagram.bytes
        if first >= 0xc0 { return receiveControl(bytes, from: source, now: now, wall: wall) }
        if Self.isWireGuard(bytes) { return drop(.wireGuard) }
        guard !source.isStream, Message.isSTUN(bytes) else { return drop(.foreign) }
        guard case .reply(let reply) = stun.receive(bytes, from: source.endpoint, now: now) else { return drop(.stun) }
        counters.replies += 1
        return .reply(reply)
    }

    /// Ends the registration on `link`, if there is one: its stream was closed.
    package mutating func disconnect(_ link: RelayLink) {
        guard let slot = table.slot(at: link) else { return }
        table.remove(slot, keeping: link)
    }

    /// The streams whose registration has ended, by expiry or because their agent registered elsewhere: close them.
    package mutating func takeEndedStreams() -> [UInt64] {
        if table.endedStreams.isEmpty { return [] }
        defer { table.endedStreams = [] }
        return table.endedStreams
    }

    /// Ends registrations that have expired and changes the cookie secret; call it every second.
    package mutating func tick(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        cookies.rotate(now: now, using: &random)
        counters.expirations += UInt64(table.expire(now: now))
    }

    /// A drain frame for each client, to send before the relay ends.
    package func drain(within seconds: UInt8) -> [(datagram: [UInt8], to: RelayLink)] {
        table.agents.compactMap { agent in
            table.slot(of: agent).map { slot in
                (Drain(agent: agent, epoch: table[slot].epoch, seconds: seconds).bytes, table[slot].link)
            }
        }
    }

    private mutating func forward(
        _ datagram: UnsafeMutableRawBufferPointer, from source: RelayLink, now: MonotonicTime
    ) -> Action {
        let header: FrameHeader
        do throws(FrameFault) { header = try unsafe FrameHeader(datagram.bytes) } catch { return drop(fault: error) }
        guard let sender = recent.slot(at: source, in: table), table[sender].isLive(at: now) else {
            return refuseUnproven(header, nonce: nil, .notRegistered, .notRegistered, source, now)
        }
        guard table[sender].epoch == header.epoch else {
            return refuse(header, nonce: nil, .staleEpoch, .notRegistered, sender, now)
        }
        table[sender].idleDeadline = now + configuration.registrationLifetime
        guard table[sender].packets.take(1, limit: configuration.packetLimit, now: now) else {
            return drop(.packetRateLimited)
        }
        guard table[sender].bytes.take(UInt64(datagram.count), limit: configuration.byteLimit, now: now) else {
            return drop(.byteRateLimited)
        }
        guard let receiver = recent.slot(of: header.agent, in: table), table[receiver].isLive(at: now) else {
            return refuse(header, nonce: nil, .unknownDestination, .unknownDestination, sender, now)
        }
        var rewritten = header
        rewritten.agent = table[sender].agent
        rewritten.epoch = table[receiver].epoch
        unsafe rewritten.write(to: datagram)
        counters.forwardedPackets += 1
        counters.forwardedBytes += UInt64(datagram.count)
        lastFlow = sender
        return .forward(to: table[receiver].link)
    }

    private static func isWireGuard(_ bytes: RawSpan) -> Bool {
        guard let type = bytes.bigEndian(UInt32.self, at: 0)?.byteSwapped else { return false }
        return (1...4).contains(type)
    }
}
