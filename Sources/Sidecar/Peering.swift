import Addressing
import Directory
import Membership
import Relay
import Sodium
import Timing
import Traversal
import Tunnel
import WireGuard

/// What the tunnel's thread asks of the control world.
enum PeeringEvent: Sendable {
    /// The pod sent a packet to this virtual address, and no known peer has it.
    case lookUp(IPAddress)
    /// A peer introduced itself, or its record is near its end: ask the directory for its newest record, and for those that
    /// follow.
    case refresh(AgentID)
    /// A peer was not used for a long time, or its record has expired.
    case forget(AgentID)
    case signal(to: AgentID, [UInt8])
    /// A handshake with this agent is verified.
    case verified(AgentID)
    case path(AgentID, name: String, Path?, after: Interval)
    case relay(isUp: Bool, detail: String)
    /// While no relay serves: why a stream could not be opened.
    case streamFailed(String)
    /// Announce: others are to reach us at other relays.
    case rehomed
    case mapped(Endpoint)
}

/// The sidecar's side of the tunnel: which peers there are, and how each is reached. Runs on the tunnel's thread.
struct Peering: ~Copyable {
    /// What was dropped, and why; the device, engine and tunnel count their own.
    struct Counters {
        var unknownDatagrams: UInt64 = 0
        var unverifiedIntroductions: UInt64 = 0
        var foreignProbes: UInt64 = 0
        /// A live address or WireGuard key appeared under another identity key: an alarm.
        var addressConflicts: UInt64 = 0
        /// Sessions that were agreed on, and those of them that took the place of one.
        var handshakes: UInt64 = 0
        var rekeys: UInt64 = 0
        /// Changes of peers' paths, by what they were changed to.
        var pathChanges: [PathKind: UInt64] = [:]

        enum PathKind: String, CaseIterable, Sendable {
            case direct, relay
            case nowhere = "none"

            init(_ path: Path?) { self = path.map { $0.isRelayed ? .relay : .direct } ?? .nowhere }
        }
    }

    /// A little longer than the engine keeps an idle path open.
    static let unusedAfter = Limits.keepsIdlePathFor + .seconds(15 * 60)
    static let peerLimit = 4096
    static let sweepInterval = Interval.seconds(10)

    let identity: Identity
    let verifier: RecordVerifier
    let meshRanges: [IPPrefix]
    let ownAddresses: [IPAddress]
    let staticKey: SecretKey
    /// Seconds since 1970 at which the static key was made: the probes' epoch.
    let epoch: UInt32
    let events: AsyncStream<PeeringEvent>.Continuation
    /// Our credential and announcement, as introductions.
    var introduction: [[UInt8]] = []

    var engine: Engine
    /// The mesh's relays, at the same index as in `homes` and in the tunnel's table.
    let relays: [MeshInfo.Relay]
    var homes: RelayHomes
    let bridge: StreamBridge
    /// The homes that others are told of, and when to tell others.
    var announced: [Int]
    var nextAnnouncement = MonotonicTime.never
    /// How long after the start each relay was up first.
    var upAfter: [Interval?]
    let started: MonotonicTime
    /// How servers see us, as it was last told.
    private var mapped: [Endpoint] = []
    /// Nil when the system has no room for them: then the home sockets must do.
    private var probing: ProbingSockets?
    var hostCandidates: [Candidate] = []
    /// What the gateway forwards to the tunnel's port.
    var portMapped: Endpoint?
    var peers: [AgentID: MeshPeer] = [:]
    var byDevice: [PeerID: MeshPeer] = [:]
    var strangers: Strangers
    /// When the first introduction is repeated; early at worst.
    var nextIntroduction = MonotonicTime.never
    var unresolved: Unresolved
    var counters = Counters()
    var random = SecureRandom()
    private var nextSweep: MonotonicTime
    private var lastHeard: (PeerID, Path, MonotonicTime)?
    private var lastSent: (PeerID, MonotonicTime)?

    init(
        identity: Identity, verifier: RecordVerifier, meshRanges: [IPPrefix], ownAddresses: [IPAddress],
        staticKey: consuming SecretKey, epoch: UInt32, relays: [MeshInfo.Relay], homes: RelayHomes,
        bridge: StreamBridge, stunServers: [Endpoint], hasIPv6: Bool, maximumPacket: Int, nodePort: UInt16? = nil,
        events: AsyncStream<PeeringEvent>.Continuation, now: MonotonicTime
    ) {
        self.identity = identity
        self.verifier = verifier
        self.meshRanges = meshRanges
        self.ownAddresses = ownAddresses
        self.staticKey = staticKey
        self.epoch = epoch
        self.relays = relays
        self.homes = homes
        self.bridge = bridge
        // What they will be when all goes well: nobody has to be told twice then.
        announced = Array(homes.targets.indices.prefix(homes.warm))
        upAfter = Array(repeating: nil, count: relays.count)
        started = now
        self.events = events
        var configuration = Engine.Configuration(policy: TargetPolicy(meshRanges: meshRanges))
        configuration.hasIPv6 = hasIPv6
        configuration.maximumPacket = maximumPacket
        configuration.nodePort = nodePort
        probing = try? ProbingSockets()
        if probing != nil { configuration.extraSockets = ProbingSockets.limit }
        engine = Engine(localID: identity.id, configuration, random: SecureRandom(), now: now)
        engine.setServers(stunServers, now: now)
        strangers = Strangers(now: now)
        unresolved = Unresolved(now: now)
        nextSweep = now + Self.sweepInterval
    }
}

extension Peering: TunnelPolicy {
    mutating func received(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        guard let type = unsafe datagram.first else { return }
        switch (type, path) {
        case (ProbeSeal.type, _):
            engine.receive(unsafe Array(datagram), from: path, now: now)
            perform(&core, now: now)
        case (Introduction.type, .relayed(_, let source)):
            unsafe introduced(Array(datagram), by: source, on: path, &core, now: now)
        case (0xc0...0xcf, .direct(_, let source)):
            unsafe receivedFromRelay(datagram, source, &core, now: now)
        case (0..<0x40, .direct):
            engine.receive(unsafe Array(datagram), from: path, now: now)
            perform(&core, now: now)
        default: counters.unknownDatagrams += 1
        }
    }

    mutating func heard(_ peer: PeerID, on path: Path, now: MonotonicTime) {
        // Time stands still within one turn of the loop: the rest of a burst says nothing new.
        if let last = lastHeard, last == (peer, path, now) { return }
        lastHeard = (peer, path, now)
        guard let peer = byDevice[peer] else { return }
        peer.lastUsed = now
        noteHeard(on: path, now: now)
        engine.heard(from: peer.id, on: path, now: now)
    }

    mutating func sent(_ peer: PeerID, now: MonotonicTime) {
        if let last = lastSent, last == (peer, now) { return }
        lastSent = (peer, now)
        guard let peer = byDevice[peer] else { return }
        peer.lastUsed = now
        noteSent(to: peer, now: now)
        engine.sent(to: peer.id, now: now)
    }

    mutating func happened(_ event: Event, _ core: inout TunnelCore, now: MonotonicTime) {
        guard case .handshakeCompleted(let device, _) = event, let peer = byDevice[device] else { return }
        peer.introduction = nil
        counters.handshakes += 1
        if peer.isVerified {
            counters.rekeys += 1
        } else {
            peer.isVerified = true
            events.yield(.verified(peer.id))
        }
    }

    mutating func unroutable(_ packet: UnsafeRawBufferPointer, _ core: inout TunnelCore, now: MonotonicTime) {
        guard let address = unsafe Self.destination(of: packet) else { return }
        let isOurs = meshRanges.contains { $0.contains(address) } && !ownAddresses.contains(address)
        switch isOurs ? unsafe unresolved.add(packet, to: address, now: now) : .nobody {
        case .lookUp: events.yield(.lookUp(address))
        case .waiting: break
        case .nobody: unsafe core.refuse(packet, .addressUnreachable)
        }
    }

    mutating func tick(_ core: inout TunnelCore, now: MonotonicTime) {
        pollRelays(&core, now: now)
        repeatIntroductions(&core, now: now)
        for datagram in probing?.receive() ?? [] {
            engine.receive(datagram.bytes, on: datagram.socket, from: datagram.source, now: now)
        }
        engine.tick(now: now)
        perform(&core, now: now)
        if nextSweep <= now {
            nextSweep = now + Self.sweepInterval
            sweep(&core, now: now, wall: .now())
        }
    }

    var nextDeadline: MonotonicTime {
        min(engine.nextDeadline, nextSweep, nextIntroduction, nextRelayTimer)
    }

    var watchedDescriptor: Int32 { probing?.raw ?? -1 }

    /// Performs what the engine decided.
    mutating func perform(_ core: inout TunnelCore, now: MonotonicTime) {
        while true {
            let actions = engine.takeActions()
            if actions.isEmpty { break }
            for action in actions { perform(action, &core, now: now) }
        }
        let seen = engine.reflexive
        for endpoint in seen where !mapped.contains(endpoint) { events.yield(.mapped(endpoint)) }
        mapped = seen
    }

    private mutating func perform(_ action: Engine.Action, _ core: inout TunnelCore, now: MonotonicTime) {
        switch action {
        case .send(let bytes, let route, let options): send(bytes, route, options, &core)
        case .sendRelayed(let bytes, let path): core.send(bytes, on: path)
        case .signal(let bytes, let id): events.yield(.signal(to: id, bytes))
        case .setPath(let id, let path):
            guard let peer = peers[id] else { return }
            core.device.setPath(peer.device, path)
            counters.pathChanges[Counters.PathKind(path), default: 0] += 1
            let after = now.since(peer.learned)
            if let path, !path.isRelayed, peer.directAfter == nil { peer.directAfter = after }
            events.yield(.path(id, name: peer.name, path, after: after))
        case .setPathLimit(let id, let limit):
            if let peer = peers[id] { core.device.setPathLimit(peer.device, limit) }
        case .open(let socket):
            if probing?.open(socket) != true { engine.failed(socket, now: now) }
        case .adopt(let socket, _):
            if let index = probing?.adopt(socket, &core) ?? nil {
                engine.adopted(socket, as: index, now: now)
            } else {
                engine.failed(socket, now: now)
            }
        case .close(let socket): if let index = probing?.close(socket) { core.release(index) }
        }
    }

    private func send(
        _ bytes: [UInt8], _ route: Route, _ options: Engine.SendOptions, _ core: inout TunnelCore
    ) {
        let index = route.socket.isHome ? UInt8(route.socket.number) : probing?.index(of: route.socket)
        if let index, options != Engine.SendOptions() {
            core.send(
                bytes, to: route.remote, socket: index, hops: options.hops, dontFragment: options.dontFragment)
        } else if let index {
            core.sendRaw(bytes, to: route.remote, socket: index)
        } else {
            probing?.send(bytes, from: route.socket, to: route.remote, hops: options.hops)
        }
    }

    static func destination(of packet: UnsafeRawBufferPointer) -> IPAddress? {
        guard let first = unsafe packet.first else { return nil }
        return switch first >> 4 {
        case 4 where packet.count >= 20: unsafe IPAddress(bytes: packet[16..<20])
        case 6 where packet.count >= 40: unsafe IPAddress(bytes: packet[24..<40])
        default: nil
        }
    }
}
