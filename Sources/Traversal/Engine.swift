package import Addressing
package import Metrics
package import Sodium
package import Timing

/// Finds and keeps the best path to each peer: (now, event) in, actions out. No sockets, clocks or threads.
///
/// The caller feeds it what arrived and what was sent, performs the actions it takes with `takeActions`, in their order,
/// and calls `tick` at `nextDeadline`. It sends from the home sockets, and from sockets that it asks for where the host
/// offers any. Not safe for concurrent use.
package struct Engine: ~Copyable {
    package enum Action: Equatable, Sendable {
        /// A datagram from one of our sockets.
        case send([UInt8], Route, SendOptions)
        /// A sealed probe as the payload of a relay frame.
        case sendRelayed([UInt8], Path)
        /// The same sealed bytes as a signal through the directory, when the relay did not get an answer.
        case signal([UInt8], to: AgentID)
        /// Packets for the peer now go there; nil while there is neither a relay nor a direct path.
        case setPath(AgentID, Path?)
        /// The largest inner packet that the peer's path carries.
        case setPathLimit(AgentID, Int)
        /// A new IPv4 socket on any port; `failed` when there is none.
        case open(SocketID)
        /// That socket becomes one of the tunnel's: `adopted` says its index, `failed` that it could not.
        case adopt(SocketID, for: AgentID)
        /// A socket that was opened is not needed any more, whether it was adopted or not.
        case close(SocketID)
    }

    package struct SendOptions: Hashable, Sendable {
        /// The time to live, where it matters.
        package var hops: UInt8?
        /// A probe of what the path carries is not to be fragmented.
        package var dontFragment = false

        package init(hops: UInt8? = nil, dontFragment: Bool = false) {
            self.hops = hops
            self.dontFragment = dontFragment
        }
    }

    package struct Configuration: Sendable {
        package var policy: TargetPolicy
        package var hasIPv6 = true
        /// How many sockets the host opens beside the home sockets: 0 for none. 264 are enough for all that is done.
        package var extraSockets = 0
        /// Port prediction and birthday probing may be used.
        package var allowsGuessing = true
        /// The interface's MTU: no path is measured beyond it.
        package var maximumPacket = 1400
        /// The port of the node that is said to be the home socket's for IPv4: what servers see there needs no opening.
        package var nodePort: UInt16?

        package init(policy: TargetPolicy) { self.policy = policy }
    }

    /// What was dropped, and why.
    package struct Counters: Equatable, Sendable {
        package var unknownPeer: UInt64 = 0
        package var malformed: UInt64 = 0
        package var authentication: UInt64 = 0
        package var replayed: UInt64 = 0
        /// Probes that came in on a socket that is another peer's.
        package var foreignSocket: UInt64 = 0
        package var refusedTargets: UInt64 = 0
        package var overBudget: UInt64 = 0
        package var foreignPongs: UInt64 = 0
        /// Calls that came too fast to be answered.
        package var excessCalls: UInt64 = 0
        /// Sprays that a peer asked for and did not get.
        package var refusedSprays: UInt64 = 0
        package var stunRefused: UInt64 = 0

        /// Pings by paths in use, which go out when something may be wrong, or another path better; those that were answered
        /// in time, and those that were not.
        package var sentProbes: UInt64 = 0
        package var answeredProbes: UInt64 = 0
        package var lostProbes: UInt64 = 0
        /// How long answers to pings took, by whatever path.
        package var roundTrips = Histogram(Histogram.roundTripBounds)

        package init() {}
    }

    package struct Status: Sendable {
        package let path: Path?
        package let roundTrip: Interval?
        /// When the direct path was found.
        package let directSince: MonotonicTime?
    }

    package internal(set) var counters = Counters()
    /// Probes that sprays sent, and the largest number in one; for reports and tests.
    package internal(set) var sprayed = 0
    /// How our NAT behaves, as far as is known.
    package internal(set) var behavior = NATBehavior()
    let localID: AgentID
    let configuration: Configuration
    var random: any RandomNumberGenerator & Sendable
    var peers: [AgentID: PeerState] = [:]
    var agenda = Agenda()
    var actions: [Action] = []
    var ledger: SocketLedger
    var budget: SprayBudget
    var requests = BindingRequests()
    var discovery = Discovery()
    /// What the host told of itself.
    var hostCandidates: [Candidate] = []
    var localCandidates: [Candidate] = []
    var relayTrip: Interval?
    /// What dies behind our NATs, and before the peer's.
    var openerHops: UInt8 = 2
    var lifetimes = BindingLifetimes()
    /// Counts the peers added, so that no two seals for the same keys use a nonce twice.
    private var incarnation: UInt32 = 0

    package init(
        localID: AgentID, _ configuration: Configuration, random: any RandomNumberGenerator & Sendable,
        now: MonotonicTime
    ) {
        self.localID = localID
        self.configuration = configuration
        self.random = random
        ledger = SocketLedger(limit: configuration.extraSockets)
        budget = SprayBudget(now: now)
    }

    // MARK: What the caller tells

    /// How many routers away the outermost of our NATs is, as far as is known: what opens it is given one hop more.
    package mutating func setNATDepth(_ hops: Int?) {
        openerHops = UInt8(clamping: min(max(hops ?? 1, 1), Limits.deepestNAT) + 1)
    }

    /// The agent's own addresses, its mapped ports and its node's: peers that are relayed are called again at once.
    package mutating func setLocalCandidates(_ candidates: [Candidate], now: MonotonicTime) {
        guard candidates != hostCandidates else { return }
        hostCandidates = candidates
        suspectAll(now: now)
        networkChanged(now: now)
        candidatesChanged(now: now)
    }

    /// How far away the relay is that peers reach us by.
    package mutating func setRelayRoundTrip(_ roundTrip: Interval) { relayTrip = roundTrip }

    /// Adds a peer, or replaces what is known of one whose static key changed: the search starts anew.
    ///
    /// - Parameter relays: the paths through relays that both use, the best first.
    /// - Throws: `smallOrderPoint` for a static key that nobody can hold.
    package mutating func addPeer(
        _ id: AgentID, localKey: borrowing SecretKey, remoteKey: X25519.PublicKey, epoch: UInt32, relays: [Path],
        now: MonotonicTime
    ) throws(SodiumError) {
        incarnation += 1
        let seal = try ProbeSeal(
            localID: localID, localKey: localKey, remoteID: id, remoteKey: remoteKey, epoch: epoch,
            incarnation: incarnation)
        removePeer(id)
        let peer = PeerState(id: id, seal: seal, relays: relays, now: now)
        peers[id] = peer
        peer.published = peer.relay
        actions.append(.setPath(id, peer.relay))
        touch(peer)
    }

    package mutating func removePeer(_ id: AgentID) {
        guard let peer = peers.removeValue(forKey: id) else { return }
        releaseSockets(of: peer)
    }

    package mutating func setRelays(_ relays: [Path], for id: AgentID) {
        guard let peer = peers[id], peer.relays != relays else { return }
        let current = peer.relay
        peer.relays = relays
        peer.relayIndex = current.flatMap { relays.firstIndex(of: $0) } ?? 0
        publish(peer)
    }

    /// A datagram that is STUN's or one of our own came in on a socket of the tunnel's table, or through a relay.
    package mutating func receive(_ datagram: [UInt8], from path: Path, now: MonotonicTime) {
        switch path {
        case .relayed: receive(datagram, on: .relayed(path), now: now)
        case .direct(let index, let source):
            guard let socket = ledger.socket(at: index) else { return counters.foreignSocket += 1 }
            receive(datagram, on: socket, from: source, now: now)
        }
    }

    /// A datagram came in on one of our sockets. Nothing changes unless it verifies.
    package mutating func receive(
        _ datagram: [UInt8], on socket: SocketID, from source: Endpoint, now: MonotonicTime
    ) {
        guard let first = datagram.first else { return }
        if first < 0x40 {
            receiveSTUN(datagram, on: socket, from: source, now: now)
        } else {
            receive(datagram, on: .direct(Route(socket, source)), now: now)
        }
    }

    /// An adopted socket is at this index of the tunnel's table.
    package mutating func adopted(_ socket: SocketID, as index: UInt8, now: MonotonicTime) {
        guard let id = ledger.setIndex(index, of: socket), let peer = peers[id] else { return }
        publish(peer)
    }

    /// The host could not open or adopt the socket.
    package mutating func failed(_ socket: SocketID, now: MonotonicTime) {
        guard ledger.close(socket) else { return }
        for peer in peers.values where peer.direct?.route.socket == socket { lose(peer, now: now) }
    }

    /// Runs what is due.
    package mutating func tick(now: MonotonicTime) {
        guard agenda.earliest <= now else { return }
        agenda.restart(at: .never)
        tickDiscovery(now: now)
        for peer in peers.values {
            if peer.deadline <= now { run(peer, now: now) }
            touch(peer)
        }
        agenda.note(min(requests.next, discovery.next))
    }

    package var nextDeadline: MonotonicTime { agenda.earliest }

    package mutating func takeActions() -> [Action] {
        defer { actions.removeAll(keepingCapacity: true) }
        return actions
    }

    package func status(of id: AgentID) -> Status? {
        peers[id].map {
            Status(
                path: $0.published, roundTrip: $0.direct?.roundTrip.smoothed,
                directSince: $0.published?.isRelayed == false ? $0.direct?.established : nil)
        }
    }

    // MARK: For the engine's parts

    /// Notes when the peer next has something due; at the end of whatever changed it.
    mutating func touch(_ peer: PeerState) { agenda.note(peer.deadline) }

    private mutating func run(_ peer: PeerState, now: MonotonicTime) {
        if peer.search.nextCall <= now { call(peer, now: now) }
        if let punch = peer.punch, punch.next <= now { runRounds(peer, punch, now: now) }
        if peer.openAt <= now { startOpening(peer, now: now) }
        if let opening = peer.opening, opening.next <= now { runOpening(peer, now: now) }
        if let spray = peer.spray, spray.next <= now { runSpray(peer, now: now) }
        if peer.nextWatch <= now { watch(peer, now: now) }
        if peer.nextRescue <= now { rescue(peer, now: now) }
        if peer.nextComparison <= now { compare(peer, now: now) }
        if let mtu = peer.mtu, mtu.next <= now { measure(peer, now: now) }
        if peer.keeping.next <= now { keep(peer, now: now) }
        for old in peer.retired where old.until <= now { close(old.socket) }
        peer.retired.removeAll { $0.until <= now }
    }

    /// Tells the tunnel where the peer's packets go, when that has changed.
    mutating func publish(_ peer: PeerState) {
        let path = usablePath(peer)
        guard path != peer.published else { return }
        peer.published = path
        actions.append(.setPath(peer.id, path))
    }

    private func usablePath(_ peer: PeerState) -> Path? {
        if let direct = peer.direct, peer.usesDirect, let index = ledger.index(of: direct.route.socket) {
            return .direct(socket: index, direct.route.remote)
        }
        return peer.relay
    }

    mutating func send(_ bytes: [UInt8], _ way: Way, _ options: SendOptions = SendOptions()) {
        switch way {
        case .direct(let route): actions.append(.send(bytes, route, options))
        case .relayed(let path): actions.append(.sendRelayed(bytes, path))
        }
    }

    mutating func open(_ use: SocketLedger.Use) -> SocketID? {
        guard let socket = ledger.open(use) else { return nil }
        actions.append(.open(socket))
        return socket
    }

    mutating func close(_ socket: SocketID) {
        if ledger.close(socket) { actions.append(.close(socket)) }
    }

    /// A number from 0 to below `bound`.
    mutating func below(_ bound: UInt64) -> UInt64 { random.next().multipliedFullWidth(by: bound).high }

    /// The interval, give or take a fraction of it: `percent` to either side.
    mutating func jittered(_ interval: Interval, percent: UInt64) -> Interval {
        let span = interval.nanoseconds / 100 * percent
        return .nanoseconds(interval.nanoseconds - span + below(2 * span + 1))
    }
}
