import Addressing
import Sodium
import Testing
import Timing
import Traversal

/// Two engines on virtual time, each behind a port-restricted NAT, with a relay that always delivers.
@Suite struct EngineTests {
    @Test func `two agents behind port-restricted NATs become direct within a second`() throws {
        var pair = try Pair()
        pair.run(for: .seconds(1))
        #expect(pair.a.engine.status(of: pair.b.id)?.path == .direct(socket: 0, pair.b.mapped))
        #expect(pair.b.engine.status(of: pair.a.id)?.path == .direct(socket: 0, pair.a.mapped))
    }

    @Test func `the relay is the path until a probe is answered, and stays it when direct is blocked`() throws {
        var pair = try Pair()
        pair.blocked = true
        #expect(pair.a.engine.status(of: pair.b.id)?.path == .relayed(relay: 0, pair.b.id))
        pair.run(for: .seconds(30))
        #expect(pair.a.engine.status(of: pair.b.id)?.path == .relayed(relay: 0, pair.b.id))
    }

    @Test func `a direct path that dies while data flows is replaced by the relay within 3 s and found again`() throws {
        var pair = try Pair()
        pair.run(for: .seconds(5))
        pair.blocked = true
        let died = pair.now
        while pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == false, pair.now.since(died) < .seconds(10) {
            pair.a.engine.sent(to: pair.b.id, now: pair.now)
            pair.run(for: .milliseconds(50))
        }
        #expect(pair.now.since(died) < .seconds(3))
        pair.blocked = false
        pair.run(for: .seconds(20))
        #expect(pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == false)
    }

    @Test func `an idle direct path is kept open and survives five minutes`() throws {
        var pair = try Pair()
        pair.run(for: .seconds(2))
        let sent = pair.datagrams
        pair.run(for: .seconds(300))
        #expect(pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == false)
        // At most one ping and its pong from each side in 15 s.
        #expect(pair.datagrams - sent <= 80)
    }

    @Test func `a peer that names only refused targets gets no probe sent anywhere`() throws {
        var pair = try Pair()
        let hostile = ["127.0.0.1", "224.0.0.1", "169.254.169.254", "fe80::1", "ff02::1", "::1", "fd77::5", "0.0.0.0"]
        pair.b.engine.setLocalCandidates(
            try hostile.map { Candidate(.host, Endpoint(try #require(IPAddress($0)), port: 53)) }, now: pair.now)
        pair.a.engine.setLocalCandidates([], now: pair.now)
        pair.run(for: .seconds(5))
        #expect(pair.sentDirect.isEmpty)
        #expect(pair.a.engine.counters.refusedTargets > 0)
    }

    @Test func `whatever candidates a peer names, at most 8 are kept and 16 probes go out in a second`() throws {
        var pair = try Pair()
        pair.blocked = true
        for round in 0..<20 {
            let named = (0..<8).map {
                Candidate(.host, Endpoint(.v4(IPv4Address(192, 0, UInt8(round), UInt8($0 + 1))), port: 53))
            }
            pair.b.engine.setLocalCandidates(named, now: pair.now)
            pair.run(for: .milliseconds(50))
        }
        let targets = Set(pair.sentDirect.filter { $0.from == pair.a.id }.map(\.to))
        #expect(targets.count <= Limits.candidates)
        for start in pair.sentDirect.map(\.at) {
            let within = pair.sentDirect.filter {
                $0.from == pair.a.id && $0.at >= start && $0.at.since(start) < .seconds(1)
            }
            #expect(within.count <= 2 * Int(Limits.probesPerSecond))
        }
        #expect(pair.sentDirect.filter { $0.from == pair.a.id }.count <= 16 + 16)
    }

    @Test func `probes of unknown agents and garbage are counted and answered by nothing`() throws {
        var pair = try Pair()
        var random = SystemRandomNumberGenerator()
        _ = pair.a.engine.takeActions()
        for length in 0..<300 {
            var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            if length > 2 { (bytes[0], bytes[1]) = (ProbeSeal.type, ProbeSeal.version) }
            pair.a.engine.receive(bytes, from: .direct(socket: 0, pair.b.mapped), now: pair.now)
        }
        #expect(pair.a.engine.takeActions().isEmpty)
        #expect(pair.a.engine.counters.unknownPeer + pair.a.engine.counters.malformed == 300)
    }

    @Test func `a peer that is forgotten and added again never uses a nonce twice and becomes direct again`() throws {
        var pair = try Pair()
        pair.run(for: .seconds(2))
        try pair.addAgainAtA()
        pair.run(for: .seconds(2))
        #expect(Set(pair.nonces).count == pair.nonces.count)
        #expect(pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == false)
        #expect(pair.b.engine.counters.replayed == 0)
    }

    @Test func `a peer whose candidates all changed is found at the new ones`() throws {
        var pair = try Pair()
        pair.b.engine.setLocalCandidates((1...8).map { Candidate(.host, Pair.place($0)) }, now: pair.now)
        pair.run(for: .seconds(6))
        #expect(pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == true)
        pair.b.engine.setLocalCandidates([Candidate(.serverReflexive, pair.b.mapped)], now: pair.now)
        pair.b.open = []
        pair.run(for: .seconds(20))
        #expect(pair.a.engine.status(of: pair.b.id)?.path == .direct(socket: 0, pair.b.mapped))
    }

    @Test func `candidates that change all the time do not make an agent call all the time`() throws {
        var pair = try Pair()
        pair.blocked = true
        for round in 0..<300 {
            pair.a.engine.setLocalCandidates([Candidate(.host, Pair.place(round % 250))], now: pair.now)
            pair.run(for: .milliseconds(100))
        }
        // 30 s: ten searches of at most five calls each, relayed or signalled.
        #expect(pair.calls <= 120)
    }

    @Test func `calls that come too fast are not answered`() throws {
        var pair = try Pair()
        var seal = try pair.sealOfB()
        _ = pair.a.engine.takeActions()
        for _ in 0..<1000 {
            pair.a.engine.receive(
                seal.seal(.call(wantsAnswer: true, [])), from: .relayed(relay: 0, pair.b.id), now: pair.now)
        }
        let answers = pair.a.engine.takeActions().filter { if case .send(_, .relayed) = $0 { true } else { false } }
        #expect(answers.count <= 8)
        #expect(pair.a.engine.counters.excessCalls == 992)
    }

    @Test func `an authentic ping from a refused address is not answered`() throws {
        var pair = try Pair()
        var seal = try pair.sealOfB()
        _ = pair.a.engine.takeActions()
        for text in ["127.0.0.1", "169.254.169.254", "fd77::9"] {
            let source = Endpoint(try #require(IPAddress(text)), port: 53)
            let ping = seal.seal(.ping(transaction: 1))
            pair.a.engine.receive(ping, from: .direct(socket: 0, source), now: pair.now)
        }
        #expect(pair.a.engine.takeActions().isEmpty)
        #expect(pair.a.engine.counters.refusedTargets == 3)
    }

    @Test func `two idle agents do not keep their path open for ever`() throws {
        var pair = try Pair()
        pair.run(for: .seconds(2))
        pair.a.engine.sent(to: pair.b.id, now: pair.now)
        pair.b.engine.heard(from: pair.a.id, on: .relayed(relay: 0, pair.a.id), now: pair.now)
        pair.run(for: .seconds(700))
        #expect(pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == true)
        let sent = pair.datagrams
        pair.run(for: .seconds(60))
        #expect(pair.datagrams == sent)
    }

    @Test func `a pong from another place than its ping went to proves nothing`() throws {
        var pair = try Pair()
        pair.rewriteSource = Endpoint(.v4(IPv4Address(192, 0, 2, 66)), port: 6)
        pair.run(for: .seconds(2))
        #expect(pair.a.engine.status(of: pair.b.id)?.path?.isRelayed == true)
        #expect(pair.a.engine.counters.foreignPongs > 0)
    }
}

/// The virtual network between two engines.
private struct Pair: ~Copyable {
    struct Agent: ~Copyable {
        let id: AgentID
        let mapped: Endpoint
        var engine: Engine
        /// Endpoints the NAT lets in: those that were sent to.
        var open: Set<Endpoint> = []
    }

    struct Sent {
        let from: AgentID
        let to: Endpoint
        let at: MonotonicTime
    }

    var a: Agent
    var b: Agent
    var now = MonotonicTime(nanoseconds: 1_000_000_000)
    var blocked = false
    var rewriteSource: Endpoint?
    var sentDirect: [Sent] = []
    var datagrams: Int { sentDirect.count }
    /// Bytes 0…23 of each probe that A sealed.
    var nonces: [[UInt8]] = []
    /// Probes that A sent by the relay or as a signal.
    var calls = 0
    private let keyA: SecretKey
    private let keyB: SecretKey
    private var inFlight: [(at: MonotonicTime, toA: Bool, bytes: [UInt8], path: Path)] = []
    private let delay = Interval.milliseconds(20)

    init() throws {
        try Libsodium.initialize()
        var random = SecureRandom()
        let keyA = try SecretKey(using: &random)
        let keyB = try SecretKey(using: &random)
        let policy = TargetPolicy(meshRanges: [try #require(IPPrefix("fd77::/48"))])
        let (idA, idB) = (AgentID(high: 1, low: 1), AgentID(high: 2, low: 2))
        var agentA = Agent(
            id: idA, mapped: Endpoint(.v4(IPv4Address(203, 0, 113, 11)), port: 1111),
            engine: Engine(localID: idA, policy: policy, socketV4: 0, socketV6: 1))
        var agentB = Agent(
            id: idB, mapped: Endpoint(.v4(IPv4Address(198, 51, 100, 12)), port: 2222),
            engine: Engine(localID: idB, policy: policy, socketV4: 0, socketV6: 1))
        agentA.engine.setLocalCandidates([Candidate(.serverReflexive, agentA.mapped)], now: now)
        agentB.engine.setLocalCandidates([Candidate(.serverReflexive, agentB.mapped)], now: now)
        try agentA.engine.addPeer(
            idB, localKey: keyA, remoteKey: X25519.publicKey(of: keyB), epoch: 1, relay: .relayed(relay: 0, idB),
            now: now)
        try agentB.engine.addPeer(
            idA, localKey: keyB, remoteKey: X25519.publicKey(of: keyA), epoch: 1, relay: .relayed(relay: 0, idA),
            now: now)
        let copyA = try keyA.copy()
        let copyB = try keyB.copy()
        a = agentA
        b = agentB
        self.keyA = copyA
        self.keyB = copyB
    }

    static func place(_ number: Int) -> Endpoint { Endpoint(.v4(IPv4Address(192, 0, 2, UInt8(number))), port: 53) }

    /// A seal of B's beside the one in its engine.
    func sealOfB() throws -> ProbeSeal {
        try ProbeSeal(
            localID: b.id, localKey: keyB, remoteID: a.id, remoteKey: X25519.publicKey(of: keyA), epoch: 1,
            incarnation: 100)
    }

    /// What happens when a peer is swept and comes back.
    mutating func addAgainAtA() throws {
        a.engine.removePeer(b.id)
        try a.engine.addPeer(
            b.id, localKey: keyA, remoteKey: X25519.publicKey(of: keyB), epoch: 1,
            relay: .relayed(relay: 0, b.id), now: now)
    }

    mutating func run(for interval: Interval) {
        let end = now + interval
        while now < end {
            a.engine.tick(now: now)
            b.engine.tick(now: now)
            perform(a.engine.takeActions(), fromA: true)
            perform(b.engine.takeActions(), fromA: false)
            let due = inFlight.filter { $0.at <= now }
            inFlight.removeAll { $0.at <= now }
            for datagram in due {
                if datagram.toA {
                    a.engine.receive(datagram.bytes, from: datagram.path, now: now)
                } else {
                    b.engine.receive(datagram.bytes, from: datagram.path, now: now)
                }
            }
            perform(a.engine.takeActions(), fromA: true)
            perform(b.engine.takeActions(), fromA: false)
            now = now + .milliseconds(5)
        }
    }

    private mutating func note(_ action: Engine.Action) {
        switch action {
        case .send(let bytes, let path):
            nonces.append(Array(bytes[..<24]))
            if path.isRelayed { calls += 1 }
        case .signal(let bytes, _):
            nonces.append(Array(bytes[..<24]))
            calls += 1
        case .setPath: break
        }
    }

    private mutating func perform(_ actions: [Engine.Action], fromA: Bool) {
        for action in actions {
            if fromA { note(action) }
            switch action {
            case .send(let bytes, .relayed):
                inFlight.append((now + delay * 2, !fromA, bytes, .relayed(relay: 0, fromA ? a.id : b.id)))
            case .send(let bytes, .direct(_, let to)):
                sentDirect.append(Sent(from: fromA ? a.id : b.id, to: to, at: now))
                if fromA { a.open.insert(to) } else { b.open.insert(to) }
                let source = fromA ? a.mapped : b.mapped
                let arrives =
                    fromA ? to == b.mapped && b.open.contains(source) : to == a.mapped && a.open.contains(source)
                if arrives, !blocked {
                    inFlight.append(
                        (now + delay, !fromA, bytes, .direct(socket: 0, fromA ? source : rewriteSource ?? source)))
                }
            case .signal(let bytes, _):
                inFlight.append((now + delay * 2, !fromA, bytes, .relayed(relay: 0, fromA ? a.id : b.id)))
            case .setPath: break
            }
        }
    }
}
