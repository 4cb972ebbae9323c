package import Addressing
package import Sodium
package import Timing

/// An agent's registration at one relay, as a state machine: registers, keeps alive, notices a dead relay, wraps and
/// unwraps relay data.
///
/// `poll` says what is due, `nextTimer` when to call it again, `receive` takes every datagram whose type byte is one of
/// ours and that came from the relay's endpoint. What a `Step` holds goes to `relay`. Not safe for concurrent use.
package struct RelayClient: Sendable {
    package struct Configuration: Sendable {
        /// The wait after the first hello or proof; it doubles up to `maximumRetry`, with a quarter of jitter.
        package var firstRetry = Interval.milliseconds(250)
        package var maximumRetry = Interval.seconds(5)
        /// Pings come after a time drawn from this span, or half the registration's lifetime if that is less.
        package var keepalive = Interval.seconds(18)...Interval.seconds(25)
        /// How long a ping waits, and how many wait in a row before the relay is dead.
        package var pingTimeout = Interval.milliseconds(500)
        package var pingTries = 3

        package init() {}
    }

    /// Who registers. `sign` makes the identity key's 64-byte signature; it is called in `receive`.
    package struct Identity: Sendable {
        package let agent: AgentID
        package let key: Ed25519.PublicKey
        package let sign: @Sendable (_ message: [UInt8]) -> [UInt8]

        package init(key: Ed25519.PublicKey, sign: @escaping @Sendable (_ message: [UInt8]) -> [UInt8]) {
            agent = AgentID(identityKey: key)
            self.key = key
            self.sign = sign
        }
    }

    package enum DownReason: Hashable, Sendable {
        /// Pings, or the attempts to register again, had no answer.
        case silent
        /// The relay said so.
        case refused(RelayErrorCode)
    }

    package enum Event: Hashable, Sendable {
        /// Registered, perhaps anew: how the relay sees our endpoint. Frames wrapped before have an old epoch.
        case up(observed: Endpoint)
        /// Not registered any more; the client goes on trying.
        case down(DownReason)
        /// Not registered and turned away; the client goes on trying, slowly.
        case refused(RelayErrorCode)
        case roundTrip(Interval)
        /// The relay does not know this agent now: a hint, which anybody on the way could forge.
        case unknownDestination(AgentID)
        /// The relay ends within this time: register elsewhere.
        case draining(within: Interval)
    }

    /// What came of a call: a datagram for the relay, and news, if any.
    package struct Step: Equatable, Sendable {
        package var send: [UInt8]?
        package var event: Event?
    }

    package enum Received: Equatable, Sendable {
        /// `payload` is where in the datagram the agent's bytes are.
        case data(source: AgentID, payload: Range<Int>)
        case control(Step)
        case dropped(DropReason)
    }

    enum Phase: Equatable, Sendable {
        /// A hello is out: when to send the next, and how many were sent.
        case greeting(retry: MonotonicTime, attempts: Int)
        case proving(Proof, sent: MonotonicTime, retry: MonotonicTime, attempts: Int)
        case registered
    }

    package let relay: Endpoint
    package internal(set) var isUp = false
    /// The least time that a ping, or the registration, took lately.
    package internal(set) var roundTrip: Interval?
    package internal(set) var observed: Endpoint?
    package internal(set) var drops = DropCounters()

    let relayID: AgentID
    let identity: Identity
    let configuration: Configuration
    var credential: [UInt8]
    var epoch: UInt8 = 0
    var nonce: UInt64 = 0
    var phase: Phase
    var nextPing = MonotonicTime.never
    var lifetime = Interval.seconds(60)
    /// The pings that wait for an answer, in the order they were sent.
    var pings: [(nonce: UInt64, sent: MonotonicTime)] = []
    /// Those beside the schedule, which say nothing when they have no answer.
    var probes: [(nonce: UInt64, sent: MonotonicTime)] = []
    var lastUnprompted: MonotonicTime?

    /// The first hello is due at `now`. `relayID` comes from the directory, not from the relay: the signature names it,
    /// so that one relay can't use it at another. `credential` has at most `Proof.maximumCredentialSize` bytes.
    package init(
        relay: Endpoint, relayID: AgentID, identity: Identity, credential: [UInt8],
        _ configuration: Configuration = Configuration(), now: MonotonicTime
    ) {
        self.relay = relay
        self.relayID = relayID
        self.identity = identity
        self.credential = credential
        self.configuration = configuration
        phase = .greeting(retry: now, attempts: 0)
    }

    /// When `poll` has something to do.
    package var nextTimer: MonotonicTime {
        switch phase {
        case .greeting(let retry, _), .proving(_, _, let retry, _): retry
        case .registered: nextPing
        }
    }

    /// What goes before a payload for `destination`; nil while no registration was ever made.
    package func wrapHeader(_ destination: AgentID) -> [20 of UInt8]? {
        epoch == 0 ? nil : FrameHeader(.data, epoch: epoch, agent: destination).bytes
    }

    /// Writes that into the first 20 bytes of `datagram`; false while no registration was ever made.
    package func writeHeader(to destination: AgentID, in datagram: UnsafeMutableRawBufferPointer) -> Bool {
        guard epoch != 0, datagram.count >= FrameHeader.size else { return false }
        unsafe FrameHeader(.data, epoch: epoch, agent: destination).write(to: datagram)
        return true
    }

    /// Registers again at `now` without going down: after a change of the network, or with a renewed credential.
    package mutating func register(credential: [UInt8]? = nil, now: MonotonicTime) {
        if let credential { self.credential = credential }
        phase = .greeting(retry: now, attempts: 0)
    }

    /// Begins a registration whose hello goes with the request that opens a stream: it is not sent again here.
    package mutating func greet(now: MonotonicTime, using random: inout some RandomNumberGenerator) -> Hello {
        nonce = random.next()
        phase = .greeting(retry: .never, attempts: 1)
        return Hello(agent: identity.agent, nonce: nonce)
    }

    /// The stream is open: the challenge is on its way.
    package mutating func greeted(now: MonotonicTime, patience: Interval) {
        guard case .greeting(_, let attempts) = phase else { return }
        phase = .greeting(retry: now + patience, attempts: attempts)
    }

    var isProving: Bool { if case .proving = phase { true } else { false } }
    var isGreeting: Bool { if case .greeting = phase { true } else { false } }

    /// A ping beside the schedule; nil while not registered.
    mutating func probe(now: MonotonicTime, using random: inout some RandomNumberGenerator) -> [UInt8]? {
        guard phase == .registered else { return nil }
        let ping = Ping(agent: identity.agent, epoch: epoch, nonce: random.next())
        if probes.count >= 4 { probes.removeFirst() }
        probes.append((ping.nonce, now))
        return ping.bytes
    }

    /// Makes the next scheduled ping due at once.
    mutating func hasten(now: MonotonicTime) {
        if phase == .registered, pings.isEmpty { nextPing = now }
    }

    /// What is due at `now`; call it until it returns nil.
    package mutating func poll(now: MonotonicTime, using random: inout some RandomNumberGenerator) -> Step? {
        switch phase {
        case .greeting(let retry, let attempts):
            guard retry <= now else { return nil }
            let isLost = isUp && attempts >= configuration.pingTries
            return greet(attempts: attempts, event: isLost ? goDown(.silent) : nil, now: now, using: &random)
        case .proving(let proof, let sent, let retry, let attempts):
            guard retry <= now else { return nil }
            guard attempts < configuration.pingTries else {
                return greet(attempts: attempts, event: isUp ? goDown(.silent) : nil, now: now, using: &random)
            }
            let next = now + delay(attempts: attempts, using: &random)
            phase = .proving(proof, sent: sent, retry: next, attempts: attempts + 1)
            return Step(send: proof.bytes)
        case .registered:
            guard nextPing <= now else { return nil }
            guard pings.count < configuration.pingTries else {
                return greet(attempts: 0, event: goDown(.silent), now: now, using: &random)
            }
            let ping = Ping(agent: identity.agent, epoch: epoch, nonce: random.next())
            pings.append((ping.nonce, now))
            nextPing = now + configuration.pingTimeout
            return Step(send: ping.bytes)
        }
    }

    /// Sends a hello and waits for the challenge.
    private mutating func greet(
        attempts: Int, event: Event?, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> Step {
        // Retries keep the nonce, so that a challenge that took longer than the wait still counts.
        if attempts == 0 { nonce = random.next() }
        phase = .greeting(retry: now + delay(attempts: attempts, using: &random), attempts: attempts + 1)
        return Step(send: Hello(agent: identity.agent, nonce: nonce).bytes, event: event)
    }

    private mutating func goDown(_ reason: DownReason) -> Event {
        isUp = false
        pings = []
        probes = []
        return .down(reason)
    }

    /// The wait after attempt `attempts`, counted from 0.
    func delay(attempts: Int, using random: inout some RandomNumberGenerator) -> Interval {
        let doubled = configuration.firstRetry * (1 << UInt64(min(attempts, 10)))
        let base = min(doubled, configuration.maximumRetry).nanoseconds
        return attempts == 0
            ? .nanoseconds(base) : .nanoseconds(base - base / 4 + .random(in: 0...base / 4, using: &random))
    }
}
