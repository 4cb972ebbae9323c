import Addressing
import STUN
import Sodium
import TestSupport
import Timing

@testable import Relay

/// One agent and several relays, with a network between them of one delay, in virtual time:
///
///     agent ──┬── UDP (may be blocked) ───────────────┬── relay 0
///             ├── TCP 443 (may be blocked) ───────────┼── relay 1
///             └── proxy, one more round trip ─────────┴── relay 2
///
/// A stream opens after three round trips (TCP, TLS, upgrade), and the challenge comes with it. All from one seed.
final class RelayFleet {
    /// A relay's process.
    final class Process {
        var server: RelayServer
        init(_ server: consuming RelayServer) { self.server = server }
    }

    private enum Event {
        case toRelay(Int, [UInt8], RelayLink)
        case toAgent(Int, [UInt8])
        case frameToAgent(Int, [UInt8], UInt32)
        case opened(Int, UInt32, RelayLink, Hello)
        case closed(Int, UInt32)
        case tick
    }

    static let agentEndpoint = Endpoint(.v4(IPv4Address(203, 0, 113, 1)), port: 40000)

    var random: SeededRandom
    let mesh: TestMesh
    let member: Member
    let peer: Member
    /// One way.
    let delay: Interval
    var blocked: Set<RelayTransport> = []
    var loss = 0.0
    /// Nil for a relay that is down.
    var servers: [Process?]
    var homes: RelayHomes
    var now = MonotonicTime.zero + .seconds(1000)
    let start: MonotonicTime
    private var queue: [(at: MonotonicTime, serial: Int, event: Event)] = []
    private var serial = 0
    private var links: [UInt64: (relay: Int, attempt: UInt32)] = [:]
    private var lastStream: UInt64 = 0
    private(set) var log: [(at: MonotonicTime, event: RelayHomes.Event)] = []
    private(set) var opens: [(at: MonotonicTime, transport: RelayTransport)] = []
    /// Relay data that arrived, by relay.
    private(set) var received: [(at: MonotonicTime, relay: Int)] = []

    init(
        seed: UInt64, relays: Int = 3, delay: Interval = .milliseconds(20),
        transports: Set<RelayTransport> = [.udp, .tls], blocked: Set<RelayTransport> = [],
        known: Set<RelayTransport> = [], _ configuration: RelayHomes.Configuration = .init()
    ) throws {
        random = SeededRandom(seed: seed)
        mesh = try TestMesh(using: &random)
        member = try Member(using: &random)
        peer = try Member(using: &random)
        self.delay = delay
        self.blocked = blocked
        servers = []
        start = now
        let targets = (0..<relays).map {
            RelayHomes.Target(id: Self.id($0), endpoint: Self.endpoint($0), transports: transports)
        }
        homes = RelayHomes(
            targets, identity: member.identity,
            credential: mesh.credential(for: member.key.publicKey, expiry: 1_700_100_000), blocked: known,
            configuration,
            now: now)
        for index in 0..<relays { servers.append(try server(index)) }
        schedule(.seconds(1), .tick)
    }

    static func id(_ relay: Int) -> AgentID { AgentID(high: 7, low: UInt64(relay)) }
    static func endpoint(_ relay: Int) -> Endpoint {
        Endpoint(.v4(IPv4Address(198, 51, 100, UInt8(relay + 1))), port: 3478)
    }

    /// A relay's process, begun anew.
    func server(_ index: Int) throws -> Process {
        Process(
            try RelayServer(relay: Self.id(index), now: now, using: &random, verifyCredential: mesh.verifier))
    }

    var wall: WallTime { WallTime(seconds: 1_700_000_000 + Int64(now.since(start).seconds)) }
    var elapsed: Interval { now.since(start) }

    /// Ends a relay: its streams are reset, datagrams to it get lost.
    func kill(_ relay: Int) {
        servers[relay] = nil
        for (_, link) in links where link.relay == relay { schedule(delay, .closed(relay, link.attempt)) }
        links = links.filter { $0.value.relay != relay }
    }

    /// Lets time pass until `condition` holds: false if it does not within `limit`.
    @discardableResult
    func run(_ limit: Interval, until condition: (RelayFleet) -> Bool = { _ in false }) throws -> Bool {
        let end = now + limit
        perform()
        while true {
            if condition(self) { return true }
            let next = min(queue.map(\.at).min() ?? .never, homes.nextTimer)
            guard next <= end else {
                now = max(now, end)
                return condition(self)
            }
            now = max(now, next)
            if let index = queue.indices.min(by: { (queue[$0].at, queue[$0].serial) < (queue[$1].at, queue[$1].serial) }
            ),
                queue[index].at <= now
            {
                handle(queue.remove(at: index).event)
            } else {
                homes.poll(now: now, using: &random)
            }
            perform()
        }
    }

    /// Relay data to the agent itself: it comes back if the relay has it registered where it is.
    func sendToSelf(through relay: Int) {
        guard let header = homes.uplink(relay)?.wrapHeader(member.id) else { return }
        let bytes = header.indices.map { header[$0] } + [1, 2, 3]
        if let stream = homes.uplink(relay)?.activeStream {
            toRelay(relay, bytes, attempt: stream)
        } else {
            toRelay(relay, bytes)
        }
        homes.noteSent(relay, now: now)
    }

    /// The same to nobody who answers: only pings can tell that the relay is there.
    func sendToPeer(through relay: Int) {
        homes.noteSent(relay, now: now)
    }

    // MARK: Network

    private func schedule(_ wait: Interval, _ event: Event) {
        serial += 1
        queue.append((now + wait, serial, event))
    }

    private func toRelay(_ relay: Int, _ bytes: [UInt8]) {
        guard !blocked.contains(.udp), !isLost else { return }
        schedule(delay, .toRelay(relay, bytes, RelayLink(Self.agentEndpoint)))
    }

    private func toRelay(_ relay: Int, _ bytes: [UInt8], attempt: UInt32) {
        guard let link = links.first(where: { $0.value == (relay, attempt) }) else { return }
        schedule(delay, .toRelay(relay, bytes, RelayLink(stream: link.key, from: Self.agentEndpoint)))
    }

    private var isLost: Bool { loss > 0 && Double.random(in: 0..<1, using: &random) < loss }

    private func perform() {
        for (relay, action) in homes.takeActions() {
            switch action {
            case .sendDatagram(let bytes): toRelay(relay, bytes)
            case .sendFrame(let bytes, let attempt): toRelay(relay, bytes, attempt: attempt)
            case .open(let transport, let attempt, let hello):
                opens.append((now, transport))
                guard !blocked.contains(transport) else { break }
                let trips: UInt64 = transport == .proxy ? 4 : 3
                guard servers[relay] != nil else {
                    schedule(delay * 2, .closed(relay, attempt))
                    break
                }
                lastStream += 1
                links[lastStream] = (relay, attempt)
                let link = RelayLink(stream: lastStream, from: Self.agentEndpoint)
                schedule(delay * (2 * trips), .opened(relay, attempt, link, hello))
            case .close(let attempt):
                for (stream, link) in links where link == (relay, attempt) {
                    links[stream] = nil
                    servers[relay]?.server.disconnect(RelayLink(stream: stream, from: Self.agentEndpoint))
                }
            }
        }
        for event in homes.takeEvents() { log.append((now, event)) }
    }

    private func handle(_ event: Event) {
        switch event {
        case .toRelay(let relay, var bytes, let link):
            guard let process = servers[relay], !link.isStream || links[link.stream] != nil else { return }
            let action = unsafe bytes.withUnsafeMutableBytes {
                unsafe process.server.receive($0, from: link, now: now, wall: wall)
            }
            switch action {
            case .reply(let reply): send(reply, from: relay, through: link)
            case .forward(let link): send(bytes, from: relay, through: link)
            case .drop: break
            }
            for ended in servers[relay]?.server.takeEndedStreams() ?? [] {
                if let link = links.removeValue(forKey: ended) { schedule(delay, .closed(relay, link.attempt)) }
            }
        case .toAgent(let relay, let bytes):
            let result = unsafe homes.receive(
                datagram: bytes.span.bytes, from: Self.endpoint(relay), now: now, using: &random)
            if case .data? = result?.received { received.append((now, relay)) }
        case .frameToAgent(let relay, let bytes, let attempt):
            let result = unsafe homes.receive(
                frame: bytes.span.bytes, relay: relay, attempt: attempt, now: now, using: &random)
            if case .data = result { received.append((now, relay)) }
        case .opened(let relay, let attempt, let link, let hello):
            guard let process = servers[relay], links[link.stream] != nil else {
                return homes.stream(isOpen: false, relay: relay, attempt: attempt, now: now, using: &random)
            }
            homes.stream(isOpen: true, relay: relay, attempt: attempt, now: now, using: &random)
            var bytes = hello.bytes
            let action = unsafe bytes.withUnsafeMutableBytes {
                unsafe process.server.receive($0, from: link, now: now, wall: wall)
            }
            if case .reply(let reply) = action { schedule(.zero, .frameToAgent(relay, reply, attempt)) }
        case .closed(let relay, let attempt):
            homes.stream(isOpen: false, relay: relay, attempt: attempt, now: now, using: &random)
        case .tick:
            for index in servers.indices { servers[index]?.server.tick(now: now, using: &random) }
            schedule(.seconds(1), .tick)
        }
    }

    private func send(_ bytes: [UInt8], from relay: Int, through link: RelayLink) {
        if link.isStream {
            guard let attempt = links[link.stream]?.attempt else { return }
            schedule(delay, .frameToAgent(relay, bytes, attempt))
        } else if !blocked.contains(.udp), !isLost {
            schedule(delay, .toAgent(relay, bytes))
        }
    }
}
