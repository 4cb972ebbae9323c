import Addressing
import Sodium
import TestSupport
import Timing

@testable import Traversal

/// An engine with its host: sockets, a relay link, and a tunnel that sends a packet now and then.
final class SimulatedAgent {
    struct Plan {
        var chain: [SimulatedNAT.Kind] = []
        /// The routers on the way have said how many NATs there are.
        var knowsDepth = true
        var isUDPBlocked = false
        var extraSockets = 264
        var allowsGuessing = true
        var access = Interval.milliseconds(20)
        var hasIPv6 = false
        var maximumPacket = 1400
        /// Behind the same NATs as that agent, and in one network with it unless `isIsolated`.
        var neighbour: Int?
        var isIsolated = false
        /// The innermost NAT is a node that maps this port of its own to the home socket.
        var nodePort: UInt16?
        /// What the agent is told of it, where that is not true.
        var toldNodePort: UInt16?
    }

    unowned let world: World
    let index: Int
    let id: AgentID
    let key: SecretKey
    let publicKey: X25519.PublicKey
    let access: Interval
    let isUDPBlocked: Bool
    /// From the inside out.
    private(set) var chain: [SimulatedNAT] = []
    private let isIsolated: Bool
    private(set) var inside: UInt64
    private(set) var homePort: UInt16
    let insideIPv6: UInt64?
    let firewallIPv6: SimulatedNAT?
    var engine: Engine
    /// What peers are added with when their first packet comes in.
    var contacts: [AgentID: X25519.PublicKey] = [:]

    private var ports: [SocketID: UInt16] = [:]
    private var byPort: [UInt16: SocketID] = [:]
    private var table: [UInt8: SocketID] = [:]
    private var wakeAt = MonotonicTime.never
    private var relayStates: [RelayState]
    private var known: Set<AgentID> = []

    private enum RelayState { case registered, greeting }

    // What was seen.
    var paths: [AgentID: Path] = [:]
    var limits: [AgentID: Int] = [:]
    var firstDirect: MonotonicTime?
    var sentSequence = 0
    var relayedProbes = 0
    var deliveries: [(at: MonotonicTime, number: Int)] = []
    var workTarget: AgentID?
    var workSpacing = Interval.milliseconds(20)
    private var toldSent = MonotonicTime.zero
    private var toldHeard = MonotonicTime.zero
    private var toldPath: Path?
    private static let tellInterval = Interval.milliseconds(250)
    var openSockets: Int { ports.count - 2 }
    var mostSockets = 0
    var nonces: Set<[UInt8]> = []
    var checksNonces = false
    var nonceReuses = 0

    init(_ world: World, _ plan: Plan, key: borrowing SecretKey, seed: UInt64) throws {
        self.world = world
        index = world.agents.count
        id = AgentID(high: UInt64(index) + 1, low: seed)
        self.key = try key.copy()
        publicKey = X25519.publicKey(of: key)
        access = plan.access
        isUDPBlocked = plan.isUDPBlocked
        var random = SeededRandom(seed: seed)
        let number = UInt64(index)
        homePort = UInt16(random.between(20000, 60000))
        inside =
            plan.chain.isEmpty && plan.neighbour == nil
            ? 0xc633_6400 + number + 1 : 0x0a00_0000 + (number + 1) << 16 + 2
        insideIPv6 = plan.hasIPv6 ? SimulatedAddress.isIPv6 | (number + 1) << 8 : nil
        firewallIPv6 =
            plan.hasIPv6
            ? SimulatedNAT(SimulatedNAT.Kind(translates: false), external: 0, seed: random.next()) : nil
        var configuration = Engine.Configuration(policy: TargetPolicy(meshRanges: []))
        configuration.hasIPv6 = plan.hasIPv6
        configuration.extraSockets = plan.extraSockets
        configuration.allowsGuessing = plan.allowsGuessing
        configuration.maximumPacket = plan.maximumPacket
        configuration.nodePort = plan.toldNodePort ?? plan.nodePort
        engine = Engine(localID: id, configuration, random: SeededRandom(seed: random.next()), now: world.now)
        relayStates = world.relays.map { _ in .greeting }
        isIsolated = plan.isIsolated
        if let neighbour = plan.neighbour { chain = world.agents[neighbour].chain }
        for (level, kind) in plan.chain.enumerated() where plan.neighbour == nil {
            let isLast = level == plan.chain.count - 1
            let external = isLast ? 0xc633_0000 + number << 4 : 0x6440_0000 + (number + 1) << 8
            chain.append(SimulatedNAT(kind, external: external, seed: random.next()))
        }
        if let port = plan.nodePort { chain.first?.nodeMap = (SimulatedAddress(inside, homePort), port) }
        if plan.knowsDepth { engine.setNATDepth(chain.count) }
        ports = [.homeIPv4: homePort, .homeIPv6: homePort]
        byPort = [homePort: .homeIPv4]
        table = [0: .homeIPv4, 1: .homeIPv6]
    }

    /// Registers at the relays and tells the engine of the network.
    func start() {
        claimAddresses()
        for relay in world.relays.indices { greet(relay) }
        world.relayTimer(index, after: .milliseconds(15_000 + UInt64(index) * 300))
        engine.setRelayRoundTrip(access * 2)
        tellNetwork()
    }

    private func claimAddresses() {
        if let outer = chain.last {
            for address in outer.addresses { world.register(address, of: index) }
        } else {
            world.register(inside, of: index)
        }
        if let insideIPv6 { world.register(insideIPv6, of: index) }
    }

    private func tellNetwork() {
        var candidates = [Candidate(.host, SimulatedAddress(inside, homePort).endpoint)]
        if let insideIPv6 { candidates.append(Candidate(.host, SimulatedAddress(insideIPv6, homePort).endpoint)) }
        engine.setLocalCandidates(candidates, now: world.now)
        // Of a server that speaks RFC 5780 two endpoints, the others are learned.
        let servers = world.hasOtherAddress ? [world.servers[0], world.servers[3]] : world.servers
        engine.setServers(servers.map(\.endpoint), now: world.now)
        settle()
    }

    /// Another network: addresses, NAT and port.
    func roam(to kind: [SimulatedNAT.Kind], seed: UInt64) {
        var random = SeededRandom(seed: seed)
        inside = 0x0a80_0000 + UInt64(index + 1) << 16 + 9
        chain = kind.map { SimulatedNAT($0, external: 0xc633_8000 + UInt64(index) << 4, seed: random.next()) }
        claimAddresses()
        tellNetwork()
    }

    /// A packet of the peer's home socket reaches our NAT before we have sent one.
    func poison(from peer: SimulatedAgent) {
        guard let nat = chain.last, let own = engine.reflexive.first, let other = peer.engine.reflexive.first else {
            return
        }
        _ = nat.inbound(SimulatedAddress(own), from: SimulatedAddress(other), now: world.now)
    }

    /// Where what we send on a route is seen to come from.
    func outside(_ route: Route) -> Endpoint? {
        guard let nat = chain.last, let port = ports[route.socket] else { return nil }
        return nat.outbound(SimulatedAddress(inside, port), to: SimulatedAddress(route.remote), now: world.now).endpoint
    }

    /// A packet of our home socket leaves for the peer before we have heard of it; it does not arrive.
    func sendEarly(to peer: SimulatedAgent) {
        guard let nat = chain.last, let other = peer.engine.reflexive.first else { return }
        _ = nat.outbound(SimulatedAddress(inside, homePort), to: SimulatedAddress(other), now: world.now)
    }

    func rebootNAT(external: UInt64?) {
        chain.last?.reboot(external: external)
        claimAddresses()
    }

    // MARK: The engine's turn

    func wake(at time: MonotonicTime) {
        guard time == wakeAt else { return }
        wakeAt = .never
        settle()
    }

    /// Runs what is due, performs what was decided, and plans the next turn.
    func settle() {
        let now = world.now
        engine.tick(now: now)
        while true {
            let actions = engine.takeActions()
            if actions.isEmpty { break }
            for action in actions { perform(action) }
        }
        let deadline = engine.nextDeadline
        if deadline < wakeAt {
            wakeAt = max(deadline, now + .nanoseconds(1))
            world.wake(index, at: wakeAt)
        }
    }

    func connect(to peer: SimulatedAgent) throws {
        known.insert(peer.id)
        try engine.addPeer(
            peer.id, localKey: key, remoteKey: peer.publicKey, epoch: 1,
            relays: world.relays.indices.map { .relayed(relay: UInt8($0), peer.id) }, now: world.now)
        settle()
    }

    /// As when asking has not helped, and nothing came through.
    func escape(to peer: SimulatedAgent) {
        guard let state = engine.peers[peer.id] else { return }
        engine.lose(state, now: world.now)
        engine.suspectRemapping(state, now: world.now)
        settle()
    }

    private func perform(_ action: Engine.Action) {
        switch action {
        case .send(let bytes, let route, let options):
            if checksNonces, bytes.count > 24, bytes[0] == ProbeSeal.type, !nonces.insert(Array(bytes[..<24])).inserted
            {
                nonceReuses += 1
            }
            emit(.plain(.bytes(bytes)), on: route.socket, to: route.remote, size: bytes.count, hops: options.hops)
        case .sendRelayed(let bytes, .relayed(let relay, let peer)):
            relayedProbes += 1
            sendToRelay(Int(relay), .data(from: id, to: peer, .bytes(bytes)))
        case .sendRelayed: break
        case .signal(let bytes, let peer):
            // By the directory, which is as far away as a relay.
            world.after(access + (world.agents.first { $0.id == peer }?.access ?? .zero)) { [world, id] in
                guard let target = world.agents.first(where: { $0.id == peer }) else { return }
                target.engine.receive(bytes, from: .relayed(relay: 0, id), now: world.now)
                target.settle()
            }
        case .setPath(let peer, let path):
            paths[peer] = path
            if path?.isRelayed == false, firstDirect == nil { firstDirect = world.now }
        case .setPathLimit(let peer, let limit): limits[peer] = limit
        case .open(let socket):
            var port = UInt16(world.random.between(20000, 60000))
            while byPort[port] != nil { port = UInt16(world.random.between(20000, 60000)) }
            ports[socket] = port
            byPort[port] = socket
            mostSockets = max(mostSockets, openSockets)
        case .adopt(let socket, _):
            let free = (UInt8(2)..<10).first { table[$0] == nil }
            guard let free, ports[socket] != nil else { return engine.failed(socket, now: world.now) }
            table[free] = socket
            engine.adopted(socket, as: free, now: world.now)
        case .close(let socket):
            if let port = ports.removeValue(forKey: socket) { byPort[port] = nil }
            for (place, used) in table where used == socket { table[place] = nil }
        }
    }

    // MARK: The network

    /// Sends through the NATs.
    func emit(
        _ content: Packet.Content, on socket: SocketID, to remote: Endpoint, size: Int, hops: UInt8? = nil
    ) {
        guard !isUDPBlocked, let port = ports[socket] else { return }
        let target = SimulatedAddress(remote)
        var hops = Int(hops ?? 64)
        if remote.address.isIPv6 {
            guard let insideIPv6, let firewallIPv6 else { return }
            let source = SimulatedAddress(insideIPv6, port)
            hops -= 1
            guard hops > 0 else { return }
            _ = firewallIPv6.outbound(source, to: target, now: world.now)
            let packet = Packet(source: source, destination: target, hops: hops, size: size + 48, content: content)
            return world.transmit(packet, from: index, delay: access)
        }
        var source = SimulatedAddress(inside, port)
        if let neighbour = neighbours.first(where: { $0.inside == target.address }) {
            guard !isIsolated else { return }
            let packet = Packet(source: source, destination: target, hops: hops, size: size + 28, content: content)
            return world.after(.milliseconds(1)) { neighbour.arriveInside(packet) }
        }
        for (level, nat) in chain.enumerated() {
            hops -= 1
            guard hops > 0 else { return }
            source = nat.outbound(source, to: target, now: world.now)
            guard nat.owns(target.address) else { continue }
            // Back to where it came from, for the few NATs that do.
            guard nat.kind.hairpins else { return }
            let packet = Packet(source: source, destination: target, hops: hops, size: size + 28, content: content)
            return world.after(.milliseconds(2)) { [weak self] in self?.arrive(packet, below: level) }
        }
        world.transmit(
            Packet(source: source, destination: target, hops: hops, size: size + 28, content: content), from: index,
            delay: access)
    }

    /// The agents behind the same NATs.
    private var neighbours: [SimulatedAgent] {
        guard let nat = chain.first else { return [] }
        return world.agents.filter { $0 !== self && $0.chain.first === nat }
    }

    private func arriveInside(_ packet: Packet) {
        guard packet.destination.address == inside, let socket = byPort[packet.destination.port] else { return }
        receive(packet, on: socket)
    }

    /// A packet is at the outermost NAT, or at one further in.
    func arrive(_ packet: Packet, below level: Int? = nil) {
        let now = world.now
        if packet.destination.address == 0 { return receive(packet, on: .homeIPv4) }
        guard !isUDPBlocked else { return }
        var target = packet.destination
        if target.address & SimulatedAddress.isIPv6 != 0 {
            guard let inside = firewallIPv6?.inbound(target, from: packet.source, now: now) else { return }
            if inside.port == homePort { receive(packet, on: .homeIPv6) }
            return
        }
        var hops = packet.hops
        for nat in chain[...(level ?? chain.count - 1)].reversed() {
            guard nat.owns(target.address), let inside = nat.inbound(target, from: packet.source, now: now) else {
                return
            }
            hops -= 1
            guard hops > 0 else { return }
            target = inside
        }
        var inner = packet
        inner.destination = target
        if target.address == inside { return arriveInside(inner) }
        neighbours.first { $0.inside == target.address }?.arriveInside(inner)
    }

    private func receive(_ packet: Packet, on socket: SocketID) {
        let now = world.now
        switch packet.content {
        case .plain(.bytes(let bytes)):
            if let place = table.first(where: { $0.value == socket })?.key {
                engine.receive(bytes, from: .direct(socket: place, packet.source.endpoint), now: now)
            } else {
                engine.receive(bytes, on: socket, from: packet.source.endpoint, now: now)
            }
        case .plain(.data(let number)):
            guard let place = table.first(where: { $0.value == socket })?.key else { return }
            deliver(number, on: .direct(socket: place, packet.source.endpoint))
        case .relay(let talk):
            guard let relay = world.relays.firstIndex(where: { $0.address == packet.source }) else { return }
            hear(talk, relay: relay)
        }
        settle()
    }

    private func deliver(_ number: Int, on path: Path) {
        deliveries.append((world.now, number))
        // The tunnel tells a few times a second, and at once of another path.
        guard let peer = workTarget, path != toldPath || world.now.since(toldHeard) >= Self.tellInterval else { return }
        (toldPath, toldHeard) = (path, world.now)
        engine.heard(from: peer, on: path, now: world.now)
    }

    // MARK: The relay link

    private func sendToRelay(_ relay: Int, _ talk: RelayTalk) {
        if isUDPBlocked { return world.transmitByTLS(talk, relay: relay, from: index) }
        emit(.relay(talk), on: .homeIPv4, to: world.relays[relay].address.endpoint, size: 100)
    }

    func keepRelays() {
        for relay in relayStates.indices { sendToRelay(relay, .ping(id)) }
        world.relayTimer(index, after: .seconds(20))
    }

    /// Says hello until the relay has registered us.
    private func greet(_ relay: Int) {
        guard relayStates[relay] == .greeting else { return }
        sendToRelay(relay, .hello(id))
        world.after(.milliseconds(250)) { [weak self] in self?.greet(relay) }
    }

    private func hear(_ talk: RelayTalk, relay: Int) {
        switch talk {
        case .notRegistered:
            guard relayStates[relay] == .registered else { return }
            relayStates[relay] = .greeting
            greet(relay)
        case .challenge: sendToRelay(relay, .proof(id))
        case .registered: relayStates[relay] = .registered
        case .data(let sender, _, let payload):
            let path = Path.relayed(relay: UInt8(relay), sender)
            if !known.contains(sender), let agent = world.agents.first(where: { $0.id == sender }) {
                known.insert(sender)
                try? engine.addPeer(
                    sender, localKey: key, remoteKey: agent.publicKey, epoch: 1,
                    relays: world.relays.indices.map { .relayed(relay: UInt8($0), sender) }, now: world.now)
            }
            switch payload {
            case .bytes(let bytes): engine.receive(bytes, from: path, now: world.now)
            case .data(let number): deliver(number, on: path)
            }
        case .ping, .pong, .hello, .proof: break
        }
    }

    // MARK: The workload

    /// Sends one packet of the tunnel now, and the next after a while.
    func startWork(to peer: AgentID) {
        workTarget = peer
        world.workload(index, after: .nanoseconds(world.random.below(workSpacing.nanoseconds)))
    }

    func work() {
        guard let peer = workTarget, workSpacing != .zero else { return }
        sendData(to: peer)
        world.workload(index, after: workSpacing)
    }

    func sendData(to peer: AgentID, size: Int = 1200) {
        sentSequence += 1
        switch paths[peer] {
        case .direct(let place, let endpoint):
            if let socket = table[place] { emit(.plain(.data(sentSequence)), on: socket, to: endpoint, size: size) }
        case .relayed(let relay, let target):
            sendToRelay(Int(relay), .data(from: id, to: target, .data(sentSequence)))
        case nil: break
        }
        guard world.now.since(toldSent) >= Self.tellInterval else { return }
        toldSent = world.now
        engine.sent(to: peer, now: world.now)
        settle()
    }
}
