package import Addressing
import Sodium
package import Timing

/// How an agent's frames get to a relay.
package enum RelayTransport: UInt8, CaseIterable, Hashable, Sendable {
    case udp
    /// TLS to the relay itself.
    case tls
    /// TLS through an HTTP proxy.
    case proxy
}

/// One relay as an agent uses it, as a state machine: its transports raced, the first that works kept, and a better one taken
/// when it comes back.
///
/// UDP begins at once, TLS 50 ms later, the proxy 150 ms later; what is known to be blocked waits until the others have
/// begun. A head start may be so short because TCP's own handshake gives UDP a round trip more, before which a relay that
/// is not needed has done no work. UDP is preferred whenever its challenge arrives, and asked for again and again while a stream serves. The agent is
/// registered once: whichever transport proves last has it, at the relay too.
///
/// The caller performs `actions`: it sends datagrams, opens and closes streams (by attempt number) and sends frames on them;
/// and it reports what happens. While relay data is sent, silence is noticed within a round trip and 250 ms (`isSuspect`).
/// Not safe for concurrent use.
package struct RelayUplink: Sendable {
    package struct Configuration: Sendable {
        /// When TLS and the proxy begin, if those before them are not known to be blocked.
        package var tlsStart = Interval.milliseconds(50)
        package var proxyStart = Interval.milliseconds(150)
        /// Waits between attempts: drawn from zero to a limit that doubles from the first to the last ("full jitter").
        package var backoff = Interval.milliseconds(250)...Interval.seconds(30)
        /// How long a stream may take to open, and to register then.
        package var openTimeout = Interval.seconds(10)
        /// When UDP is tried again while a stream serves; the last again and again.
        package var udpRetries = [Interval.seconds(5), .seconds(15), .seconds(60), .seconds(300)]
        /// How long each of these tries lasts.
        package var udpTrial = Interval.seconds(2)
        /// A transport that lasted this long was good: its failures are forgotten.
        package var settled = Interval.seconds(10)
        /// When pings go out while nothing is heard, counted from the first data that had no answer, and what is added to
        /// the round trip until the relay is suspect.
        package var probes = [Interval.milliseconds(100), .milliseconds(150), .milliseconds(200)]
        package var patience = Interval.milliseconds(250)
        package var client = RelayClient.Configuration()

        package init() {}
    }

    package enum Action: Equatable, Sendable {
        /// To the relay's UDP endpoint.
        case sendDatagram([UInt8])
        /// A frame on the stream of this attempt.
        case sendFrame([UInt8], attempt: UInt32)
        /// Open a stream; report `opened` or `closed`.
        case open(RelayTransport, attempt: UInt32, Hello)
        case close(attempt: UInt32)
    }

    package enum Event: Equatable, Sendable {
        /// Registered, perhaps anew: frames wrapped before have an old epoch.
        case up(RelayTransport, observed: Endpoint)
        case down
        /// The relay turned us away; the uplink goes on trying, slowly.
        case refused(RelayErrorCode)
        /// Silent while data is sent: use another relay until it is heard again.
        case suspect
        case recovered
        case roundTrip(Interval)
        case unknownDestination(AgentID)
        case draining(within: Interval)
    }

    /// A stream that is being opened, or open: `client` is its registration.
    struct Stream: Sendable {
        let attempt: UInt32
        let transport: RelayTransport
        var client: RelayClient
        var isOpen = false
        var deadline: MonotonicTime
    }

    /// When a stream of one transport is tried next.
    struct Retry: Sendable {
        var next: MonotonicTime
        var failures: UInt64 = 0
    }

    /// What the relay is to be reached by.
    package let transports: Set<RelayTransport>
    package internal(set) var actions: [Action] = []
    package internal(set) var events: [Event] = []
    /// The transport that is registered.
    package internal(set) var active: RelayTransport?
    package internal(set) var isSuspect = false

    let configuration: Configuration
    let identity: RelayClient.Identity
    let relayID: AgentID
    let endpoint: Endpoint
    var credential: [UInt8]
    var udp: RelayClient
    var streams: [Stream] = []
    var retries: [RelayTransport: Retry] = [:]
    var lastAttempt: UInt32 = 0
    var upSince = MonotonicTime.never
    /// While a stream serves, UDP is silent but for trials.
    var udpTrialEnd = MonotonicTime.zero
    var nextUDPTrial = MonotonicTime.never
    var udpTrials = 0
    /// Whether a stream's proof may still replace UDP's.
    var needsCheck = false
    /// The first relay data since anything was heard.
    var unanswered: (since: MonotonicTime, probes: Int)?

    /// Begins at `now`.
    ///
    /// - Parameters:
    ///   - endpoint: the relay's UDP endpoint; any value where `transports` is without UDP.
    ///   - blocked: transports that did not work here lately.
    package init(
        relay endpoint: Endpoint, relayID: AgentID, transports: Set<RelayTransport>,
        blocked: Set<RelayTransport> = [], identity: RelayClient.Identity, credential: [UInt8],
        _ configuration: Configuration = Configuration(), now: MonotonicTime
    ) {
        self.endpoint = endpoint
        self.relayID = relayID
        self.transports = transports
        self.identity = identity
        self.credential = credential
        self.configuration = configuration
        udp = RelayClient(
            relay: endpoint, relayID: relayID, identity: identity, credential: credential, configuration.client,
            now: now)
        race(blocked: blocked, now: now)
    }

    /// The round trip of the transport that is registered.
    package var roundTrip: Interval? { activeClient?.roundTrip }
    /// Our endpoint as the relay sees it over UDP; nil while it is not registered that way.
    package var observed: Endpoint? { active == .udp ? udp.observed : nil }
    /// The stream that data goes through; nil when it goes by UDP.
    package var activeStream: UInt32? {
        guard let active, active != .udp else { return nil }
        return streams.first { $0.isOpen && $0.client.isUp }?.attempt
    }

    /// What goes before a payload for `destination`; nil while not registered.
    package func wrapHeader(_ destination: AgentID) -> [20 of UInt8]? { activeClient?.wrapHeader(destination) }

    var activeClient: RelayClient? {
        switch active {
        case nil: nil
        case .udp: udp
        default: streams.first { $0.isOpen && $0.client.isUp }?.client
        }
    }

    /// Takes the actions, in order.
    package mutating func takeActions() -> [Action] {
        defer { actions = [] }
        return actions
    }

    package mutating func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }

    /// When `poll` has something to do.
    package var nextTimer: MonotonicTime {
        var next = min(nextUDPTrial, silenceTimer)
        if isUDPSpeaking { next = min(next, udp.nextTimer) }
        if udpTrialEnd != .zero { next = min(next, udpTrialEnd) }
        for stream in streams { next = min(next, stream.isOpen ? stream.client.nextTimer : stream.deadline) }
        if active == nil { for retry in retries.values { next = min(next, retry.next) } }
        return next
    }

    /// Sets the transports off, one after the other.
    mutating func race(blocked: Set<RelayTransport>, now: MonotonicTime) {
        let usable = RelayTransport.allCases.filter { transports.contains($0) && !blocked.contains($0) }
        let starts: [RelayTransport: Interval] = [
            .udp: .zero, .tls: configuration.tlsStart, .proxy: configuration.proxyStart,
        ]
        // The first that may work has no one to wait for. What is blocked comes after the others.
        let first = usable.first.flatMap { starts[$0] } ?? .zero
        for transport in [RelayTransport.tls, .proxy] where transports.contains(transport) {
            let start = starts[transport] ?? .zero
            let wait = blocked.contains(transport) && !usable.isEmpty ? start + configuration.proxyStart : start
            retries[transport, default: Retry(next: .never)].next =
                now + .nanoseconds(wait.nanoseconds - min(first.nanoseconds, wait.nanoseconds))
        }
        // A hello costs nothing.
        if transports.contains(.udp) { udp.register(now: now) }
    }

    /// Whether UDP may say something now.
    var isUDPSpeaking: Bool { transports.contains(.udp) && (active == nil || active == .udp || udpTrialEnd != .zero) }

    /// Full jitter.
    func wait(failures: UInt64, using random: inout some RandomNumberGenerator) -> Interval {
        let first = configuration.backoff.lowerBound * (1 << min(failures, 20))
        let limit = min(first, configuration.backoff.upperBound).nanoseconds
        return .nanoseconds(.random(in: 0...limit, using: &random))
    }
}
