package import Addressing
package import Timing

/// Gets one UDP port of the default gateway forwarded to us, by whichever of PCP, NAT-PMP and UPnP it speaks.
///
/// A state machine: `poll` says what to do, `receive` and `exchanged` take what came in, `nextTimer` when to call `poll`
/// again, and after each of them. All three are looked for at once. PCP asks for the mapping right away, as that is its
/// only question; the others first ask what changes nothing, and map only when PCP has not within `patience`, so that
/// a gateway which speaks several does not hold two mappings whose deletions would undo each other.
///
/// Only what comes from the gateway's address counts, and only that address (and SSDP's group) is sent to. The gateway
/// is believed as to where it forwards, no further. Not safe for concurrent use.
package struct GatewayClient: Sendable {
    package enum Purpose: Sendable {
        /// Keep a mapping.
        case map
        /// Only find out what there is; nothing is left behind.
        case discover
    }

    package struct Configuration: Sendable {
        package var protocols = Set(MappingProtocol.allCases)
        /// What is asked for, in seconds (RFC 6886 section 3.3 recommends two hours).
        package var lifetime: UInt32 = 7200
        /// How long PCP may take before another protocol may map, and NAT-PMP before UPnP may.
        package var patience = Interval.milliseconds(400)
        /// When to look again where there was nothing: from the first pause, each twice the last, up to the last.
        package var firstPause = Interval.seconds(60)
        package var lastPause = Interval.seconds(3600)

        package init() {}
    }

    private let gateway: IPv4Address
    private let purpose: Purpose
    private let configuration: Configuration
    private var pcp: PCPClient
    private var natPMP: NATPMPClient
    private var upnp: UPnPClient
    private var exchange = ExchangeNumber()
    private var started: MonotonicTime
    private var search: MonotonicTime
    private var pause: Interval
    /// When a slower protocol may have its turn.
    private var fallback: MonotonicTime
    private var isStopped = false

    /// The first questions are due at `now`.
    ///
    /// - Parameters:
    ///   - host: our address towards the gateway.
    ///   - internalPort: the UDP port to be reached; the questions go out from another socket.
    package init(
        gateway: IPv4Address, host: IPv4Address, internalPort: UInt16, _ purpose: Purpose,
        _ configuration: Configuration = Configuration(), now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        self.gateway = gateway
        self.purpose = purpose
        self.configuration = configuration
        let nonce = (0..<12).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        pcp = PCPClient(gateway: gateway, host: host, internalPort: internalPort, nonce: nonce)
        natPMP = NATPMPClient(gateway: gateway, internalPort: internalPort)
        upnp = UPnPClient(gateway: gateway, host: host, internalPort: internalPort)
        started = now
        search = now
        pause = configuration.firstPause
        fallback = .never
    }

    /// The mapping that is held.
    package var mapped: MappedPort? { pcp.mapped ?? natPMP.mapped ?? upnp.mapped }

    /// What each protocol's search has found.
    package var findings: [MappingProtocol: MappingFinding] {
        [.pcp: pcp.finding, .natPMP: natPMP.finding, .upnp: upnp.finding].filter {
            configuration.protocols.contains($0.key)
        }
    }

    /// Whether every protocol has been found or not.
    package var isSettled: Bool { !findings.values.contains(.searching) && !isMapping }

    package var nextTimer: MonotonicTime {
        isStopped ? .never : min(pcp.nextTimer, natPMP.nextTimer, upnp.nextTimer, search, fallback)
    }

    /// What is due.
    package mutating func poll(now: MonotonicTime) -> [MappingAction] {
        guard !isStopped else { return [] }
        var actions: [MappingAction] = []
        if search <= now { start(now: now) }
        let lifetime = configuration.lifetime
        pcp.poll(lifetime: lifetime, now: now, into: &actions)
        natPMP.poll(lifetime: lifetime, now: now, into: &actions)
        upnp.poll(lifetime: lifetime, now: now, &exchange, into: &actions)
        choose(now: now, into: &actions)
        return actions
    }

    /// A datagram that came in on the client's socket, or to all hosts on `announcePort`.
    package mutating func receive(_ datagram: RawSpan, from source: Endpoint, now: MonotonicTime) -> [MappingAction] {
        guard !isStopped, source.address == .v4(gateway) else { return [] }
        var actions: [MappingAction] = []
        if source.port == PCP.port {
            pcp.receive(datagram, now: now, into: &actions)
            natPMP.receive(datagram, now: now, into: &actions)
        } else {
            upnp.receive(datagram, &exchange, into: &actions)
        }
        choose(now: now, into: &actions)
        return actions
    }

    /// What an exchange has brought: nil where there was no connection, or nothing that is HTTP.
    package mutating func exchanged(
        _ number: Int, _ response: HTTPResponse?, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) -> [MappingAction] {
        guard !isStopped else { return [] }
        var actions: [MappingAction] = []
        upnp.exchanged(
            number, response, lifetime: configuration.lifetime, now: now, using: &random, &exchange, into: &actions)
        choose(now: now, into: &actions)
        return actions
    }

    /// Gives the mapping up; afterwards there is nothing to poll.
    package mutating func stop() -> [MappingAction] {
        guard !isStopped else { return [] }
        var actions: [MappingAction] = []
        pcp.release(into: &actions)
        natPMP.release(into: &actions)
        upnp.release(&exchange, into: &actions)
        isStopped = true
        return actions
    }

    /// The UDP port that gateways announce a restart to, at all hosts (RFC 6887 section 14.1, RFC 6886 section 3.2.1).
    package static let announcePort = PCP.announcePort

    private var isMapping: Bool { pcp.isMapping || natPMP.isMapping || upnp.isMapping }

    private mutating func start(now: MonotonicTime) {
        started = now
        search = .never
        fallback = .never
        let protocols = configuration.protocols
        if protocols.contains(.natPMP) { natPMP.discover(now: now) }
        if protocols.contains(.upnp) { upnp.discover(now: now) }
        guard protocols.contains(.pcp) else { return }
        switch purpose {
        case .map:
            pcp.map(now: now)
            fallback = now + configuration.patience
        case .discover: pcp.discover(now: now)
        }
    }

    /// Lets the next protocol map where the ones before it don't, and looks again later where none does.
    private mutating func choose(now: MonotonicTime, into actions: inout [MappingAction]) {
        guard purpose == .map, search == .never else { return }
        if mapped != nil {
            pause = configuration.firstPause
            fallback = .never
            return
        }
        let waited = now.since(started)
        if pcp.isMapping, waited < configuration.patience { return }
        if natPMP.isMapping || upnp.isMapping { return }
        if case .found = natPMP.finding {
            pcp.release(into: &actions)
            natPMP.map(now: now)
            fallback = .never
            natPMP.poll(lifetime: configuration.lifetime, now: now, into: &actions)
            return
        }
        if natPMP.finding == .searching, configuration.protocols.contains(.natPMP), waited < configuration.patience * 2
        {
            fallback = started + configuration.patience * 2
            return
        }
        if case .found = upnp.finding {
            pcp.release(into: &actions)
            upnp.map(lifetime: configuration.lifetime, &exchange, into: &actions)
            fallback = .never
            return
        }
        fallback = .never
        if isSettled {
            search = now + pause
            pause = min(pause * 2, configuration.lastPause)
        }
    }
}
