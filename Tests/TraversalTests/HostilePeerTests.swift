import Addressing
import Sodium
import TestSupport
import Testing
import Timing

@testable import Traversal

/// What a peer with proper keys, a hub or a stranger can make an agent do: little.
@Suite struct HostilePeerTests {
    private let hard = NATBehavior(.addressAndPortDependent, .addressAndPortDependent, .random)
    private let easy = NATBehavior(
        .endpointIndependent, .addressAndPortDependent, .preserving, remapsAfterUnsolicited: false)

    private func call(
        _ flags: Call.Flags = [], _ candidates: [Candidate], _ behavior: NATBehavior = NATBehavior(),
        opened: Call.Opened? = nil
    ) -> Call {
        var call = Call(flags, candidates: candidates)
        call.behavior = behavior
        call.opened = opened
        call.extraSockets = 264
        return call
    }

    // MARK: Targets

    @Test func `a peer that names only refused targets gets no probe sent anywhere`() throws {
        var bench = try HostileBench()
        let hostile = ["127.0.0.1", "224.0.0.1", "169.254.169.254", "fe80::1", "ff02::1", "::1", "fd77::5", "0.0.0.0"]
        let candidates = try hostile.map { Candidate(.host, Endpoint(try #require(IPAddress($0)), port: 53)) }
        bench.call(call(.wantsAnswer, candidates, easy))
        for candidate in candidates {
            bench.call(call([], [], hard, opened: Call.Opened(first: candidate.endpoint, count: 100)))
            bench.call(call([], [], hard, opened: Call.Opened(first: candidate.endpoint)))
        }
        bench.run(for: .seconds(120))
        #expect(bench.sent.isEmpty)
        #expect(bench.engine.counters.refusedTargets >= 8)
    }

    @Test func `whatever a peer names, 8 new targets in 10 s and 16 pings a second are the most`() throws {
        var bench = try HostileBench()
        for round in 0..<600 {
            let named = (0..<8).map { Candidate(.serverReflexive, HostileBench.place(round * 8 + $0, port: 5353)) }
            bench.call(call(.wantsAnswer, named, easy))
            bench.run(for: .milliseconds(100))
        }
        let targets = Set(bench.sent.map(\.route.remote))
        #expect(targets.count <= 8 + 8 * 6)
        #expect(bench.sent.count <= Int(Limits.pingBurst) + 60 * Int(Limits.pingsPerSecond) + 8 * 12)
        #expect(bench.engine.counters.overBudget > 0)
    }

    // MARK: Sprays

    @Test func `an address that the peer did not name, or a private one, is not sprayed`() throws {
        var bench = try HostileBench()
        let own = Candidate(.serverReflexive, HostileBench.place(7, port: 4000))
        let lan = Endpoint(.v4(IPv4Address(192, 168, 1, 1)), port: 4000)
        bench.call(call([], [own, Candidate(.serverReflexive, lan)], hard))
        bench.run(for: .seconds(3))
        bench.forgetSent()
        for first in [HostileBench.place(8, port: 1024), lan, Endpoint(own.endpoint.address, port: 0)] {
            bench.call(call([], [own], hard, opened: Call.Opened(first: first, count: 64512)))
        }
        bench.run(for: .seconds(2))
        #expect(bench.engine.sprayed == 0)
        #expect(bench.engine.counters.refusedSprays >= 2)
    }

    @Test func `a peer gets one large spray in ten minutes, of 1,088 probes at 1,000 a second`() throws {
        var bench = try HostileBench()
        let victim = Candidate(.serverReflexive, HostileBench.place(7, port: 4000))
        let opened = Call.Opened(first: Endpoint(victim.endpoint.address, port: 1024), count: 64512)
        for _ in 0..<590 {
            bench.call(call([], [victim], hard, opened: opened))
            bench.run(for: .seconds(1))
        }
        #expect(bench.engine.sprayed == Limits.sprayProbes)
        let probes = bench.sent.filter { $0.route.remote != victim.endpoint }
        let first = try #require(probes.first?.at)
        #expect(probes.filter { $0.at.since(first) < .milliseconds(500) }.count <= 510)
        #expect(Set(probes.map(\.route.remote)).count == probes.count)
        #expect(probes.allSatisfy { $0.route.remote.port >= 1024 })
    }

    @Test func `small ranges that are asked for again and again are bounded too`() throws {
        var bench = try HostileBench()
        let victim = Candidate(.serverReflexive, HostileBench.place(7, port: 4000))
        for round in 0..<300 {
            let first = Endpoint(victim.endpoint.address, port: UInt16(2000 + round * 100))
            bench.call(call([], [victim], hard, opened: Call.Opened(first: first, count: 100)))
            bench.run(for: .seconds(2))
        }
        #expect(bench.engine.sprayed <= Limits.sprayProbes + 2 * 600)
    }

    @Test
    func `many peers that name one address get few sprays of it, and all together no more than the node's budget`()
        throws
    {
        var bench = try HostileBench(peers: 40)
        let victim = HostileBench.place(7, port: 4000)
        let opened = Call.Opened(first: Endpoint(victim.address, port: 1024), count: 64512)
        for peer in 0..<40 {
            bench.call(call([], [Candidate(.serverReflexive, victim)], hard, opened: opened), peer: peer)
        }
        bench.run(for: .seconds(300))
        #expect(bench.engine.sprayed <= Limits.largeSpraysPerAddress * Limits.sprayProbes)
        for peer in 0..<40 {
            let other = HostileBench.place(10 + peer, port: 4000)
            let opened = Call.Opened(first: Endpoint(other.address, port: 1024), count: 64512)
            bench.call(call([], [Candidate(.serverReflexive, other)], hard, opened: opened), peer: peer)
        }
        bench.run(for: .seconds(60))
        #expect(bench.engine.sprayed <= 4 * Limits.sprayProbes + 360 * 20 + 10)
    }

    @Test func `peers that make us open sockets get 256 once, and all of them are closed again`() throws {
        var bench = try HostileBench(peers: 20, behavior: hard)
        let victim = HostileBench.place(7, port: 4000)
        for _ in 0..<30 {
            for peer in 0..<20 { bench.call(call([], [Candidate(.serverReflexive, victim)], easy), peer: peer) }
            bench.run(for: .seconds(10))
        }
        let fromOthers = bench.sent.filter { !$0.route.socket.isHome }
        #expect(bench.mostSockets <= 264)
        #expect(fromOthers.count <= Limits.largeSpraysPerAddress * 256)
        #expect(bench.openSockets.isEmpty)
    }

    @Test func `a block as large as all ports is not believed`() throws {
        var bytes: [UInt8] = []
        NATBehavior(.addressAndPortDependent, .addressAndPortDependent, .block(1024...65535)).encode(into: &bytes)
        #expect(NATBehavior(decoding: bytes[...])?.allocation == .unknown)
        var bench = try HostileBench(
            behavior: NATBehavior(.addressAndPortDependent, .addressAndPortDependent, .sequential(step: 1)))
        let wide = NATBehavior(.addressAndPortDependent, .addressAndPortDependent, .block(2000...4000))
        bench.call(call([], [Candidate(.serverReflexive, HostileBench.place(7, port: 4000))], wide))
        bench.run(for: .seconds(10))
        #expect(bench.sent.count <= 64)
    }

    @Test func `a peer that calls on and on and never answers gets as many openers as pings`() throws {
        var bench = try HostileBench()
        let named = (0..<8).map { Candidate(.serverReflexive, HostileBench.place(30 + $0, port: 5353)) }
        let accepting = NATBehavior(.endpointIndependent, .addressAndPortDependent, .preserving)
        for _ in 0..<120 {
            bench.call(call(.wantsAnswer, named, accepting))
            bench.run(for: .milliseconds(500))
        }
        #expect(bench.mostSockets <= 8)
        #expect(bench.sent.count <= Int(Limits.pingBurst) + 60 * Int(Limits.pingsPerSecond) + 60 * 8)
        bench.run(for: .seconds(60))
        #expect(bench.openSockets.isEmpty)
    }

    @Test func `what a peer says of its NAT makes us send no more than one packet in 13 s`() throws {
        for keepalive in [Keepalive(.plain, known: 1, wanted: 1), Keepalive(.asks, known: 1, wanted: 600)] {
            var bench = try HostileBench()
            try bench.becomeDirect(at: HostileBench.place(7, port: 4000), call([], [], easy))
            bench.run(for: .seconds(20))
            bench.forgetSent()
            bench.receive(bench.seal(.keepalive(keepalive)), from: HostileBench.place(7, port: 4000))
            bench.run(for: .seconds(600))
            #expect(bench.sent.count <= 600 / 13 + 8)
            #expect(bench.engine.bindingSeconds == 0)
        }
    }

    // MARK: Answers

    @Test func `what answers a probe is never larger than the probe`() throws {
        var bench = try HostileBench()
        let source = HostileBench.place(7, port: 4000)
        bench.receive(bench.seal(.ping(transaction: 1)), from: source)
        bench.run(for: .seconds(1))
        for message: ProbeMessage in [
            .ping(transaction: 2), .ping(transaction: 3, padding: 1300), .keepalive(Keepalive(.asks, wanted: 600)),
            .keepalive(Keepalive(.plain, known: 1)), .pong(transaction: 6, observed: source),
        ] {
            let datagram = bench.seal(message)
            // What the engine sends of its own accord meanwhile.
            bench.forgetSent()
            bench.run(for: .seconds(3))
            let usual = bench.sent.reduce(0) { $0 + $1.size }
            bench.forgetSent()
            bench.receive(datagram, from: source)
            bench.run(for: .seconds(3))
            let answers = bench.sent.filter { $0.route.remote == source }
            // A ping of ours in return, to find out whether the peer can be reached there, is a question, not an answer.
            let own = answers.isEmpty ? 0 : 76
            #expect(answers.reduce(0) { $0 + $1.size } <= datagram.count + usual + own, "\(message)")
        }
    }

    @Test func `a stranger's datagrams, and a peer's again, change nothing and are answered by nothing`() throws {
        var bench = try HostileBench()
        let source = HostileBench.place(7, port: 4000)
        let messages: [ProbeMessage] = [
            .ping(transaction: 1), .pong(transaction: 2, observed: source), .keepalive(Keepalive(.asks, known: 3)),
            .keepalive(Keepalive(.plain)), .call(call(.wantsAnswer, [Candidate(.host, source)], easy)),
        ]
        let datagrams = messages.map { bench.seal($0) }
        for datagram in datagrams { bench.receive(datagram, from: source) }
        bench.run(for: .seconds(20))
        bench.forgetSent()
        let remotes = bench.engine.peers[bench.peerIDs[0]]?.remotes.map(\.route)
        var random = SeededRandom(seed: 9)
        for datagram in datagrams {
            for elsewhere in [source, HostileBench.place(66, port: 6)] { bench.receive(datagram, from: elsewhere) }
            for _ in 0..<400 {
                var forged = datagram
                forged[Int(random.below(UInt64(forged.count)))] ^= UInt8(1 << random.below(8))
                bench.receive(forged, from: HostileBench.place(66, port: 6))
                bench.receive(Array(datagram.prefix(Int(random.below(UInt64(datagram.count))))), from: source)
            }
        }
        #expect(bench.sent.isEmpty && bench.relayed.isEmpty)
        #expect(bench.engine.peers[bench.peerIDs[0]]?.remotes.map(\.route) == remotes)
        #expect(bench.engine.counters.replayed >= 10)
        #expect(bench.engine.counters.authentication > 1000)
    }

    @Test func `what is larger than a probe can be, or shorter than one, is dropped unread`() throws {
        var bench = try HostileBench()
        let source = HostileBench.place(7, port: 4000)
        let probe = bench.seal(.ping(transaction: 1))
        for size in [9001, 20_000, 65_507] {
            bench.receive(probe + [UInt8](repeating: 0, count: size - probe.count), from: source)
        }
        for size in 0..<ProbeSeal.overhead { bench.receive(Array(probe.prefix(size)), from: source) }
        // The largest that can be is answered by what any ping is.
        #expect(bench.sent.isEmpty)
        let padded = bench.seal(.ping(transaction: 2, padding: ProbeSeal.maximumSize - ProbeSeal.overhead - 28))
        #expect(padded.count == ProbeSeal.maximumSize)
        bench.receive(padded, from: source)
        #expect(bench.sent.map(\.route.remote) == [source, source])
        #expect(bench.sent.allSatisfy { $0.size <= 80 })
        #expect(bench.engine.peers[bench.peerIDs[0]]?.direct == nil)
    }

    @Test func `a hub that keeps, repeats and misdirects calls moves nothing`() throws {
        var bench = try HostileBench(peers: 2)
        let named = call(.wantsAnswer, [Candidate(.serverReflexive, HostileBench.place(7, port: 4000))], easy)
        let datagram = bench.seal(.call(named))
        bench.engine.receive(datagram, from: .relayed(relay: 0, bench.peerIDs[0]), now: bench.now)
        bench.run(for: .seconds(3))
        bench.forgetSent()
        // The same again, under another agent's name, from another relay, and by a direct way.
        for path: Path in [
            .relayed(relay: 0, bench.peerIDs[0]), .relayed(relay: 0, bench.peerIDs[1]),
            .relayed(relay: 1, bench.peerIDs[0]), .direct(socket: 0, HostileBench.place(9, port: 1)),
        ] {
            bench.engine.receive(datagram, from: path, now: bench.now)
            bench.settle()
        }
        #expect(bench.sent.isEmpty && bench.relayed.isEmpty)
        // The name inside is part of what is sealed.
        var renamed = datagram
        renamed.replaceSubrange(16..<32, with: bench.peerIDs[1].bytes)
        bench.receive(renamed, from: HostileBench.place(9, port: 1))
        #expect(bench.sent.isEmpty)
        #expect(bench.engine.counters.replayed == 4 && bench.engine.counters.authentication == 1)
    }

    @Test func `calls that come too fast are not answered`() throws {
        var bench = try HostileBench()
        bench.forgetSent()
        for _ in 0..<1000 { bench.call(call(.wantsAnswer, [])) }
        #expect(bench.relayed.count <= 12)
        #expect(bench.engine.counters.excessCalls == 988)
    }

    @Test func `an authentic ping from a refused address is not answered`() throws {
        var bench = try HostileBench()
        for text in ["127.0.0.1", "169.254.169.254", "fd77::9"] {
            let source = Endpoint(try #require(IPAddress(text)), port: 53)
            bench.receive(bench.seal(.ping(transaction: 1)), from: source)
        }
        #expect(bench.sent.isEmpty)
        #expect(bench.engine.counters.refusedTargets == 3)
    }

    @Test func `a pong from another place than its ping went to proves nothing`() throws {
        var bench = try HostileBench()
        bench.call(call([], [Candidate(.host, HostileBench.place(7, port: 4000))], easy))
        let transaction = try #require(bench.engine.peers[bench.peerIDs[0]]?.pings.last?.transaction)
        let pong = ProbeMessage.pong(transaction: transaction, observed: HostileBench.place(2, port: 9999))
        bench.receive(bench.seal(pong), from: HostileBench.place(66, port: 6))
        #expect(bench.engine.status(of: bench.peerIDs[0])?.path?.isRelayed == true)
        #expect(bench.engine.counters.foreignPongs == 1)
        bench.receive(bench.seal(pong), from: HostileBench.place(7, port: 4000))
        #expect(bench.engine.status(of: bench.peerIDs[0])?.path?.isRelayed == false)
    }

    @Test func `what a STUN server says unasked, from elsewhere, or of a refused address is ignored`() throws {
        var bench = try HostileBench()
        let before = bench.engine.localCandidates
        bench.engine.setServers([HostileBench.place(30, port: 3478)], now: bench.now)
        bench.settle()
        var answer: [UInt8] = [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42] + [UInt8](repeating: 7, count: 12)
        answer += [0, 0x20, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0]
        bench.receive(answer, from: HostileBench.place(30, port: 3478))
        #expect(bench.engine.localCandidates == before)
        bench.engine.observed(
            try #require(Endpoint("127.0.0.1:9")), by: HostileBench.place(3, port: 443), now: bench.now)
        #expect(bench.engine.localCandidates == before)
        #expect(bench.engine.counters.stunRefused == 1 && bench.engine.counters.refusedTargets == 1)
    }
}
