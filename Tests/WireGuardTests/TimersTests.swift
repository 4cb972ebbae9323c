import Addressing
import Sodium
import Testing
import Timing
import WireGuard

/// Every timer of the paper (section 6), on a virtual clock.
@Suite struct TimersTests {
    private func kinds(_ outputs: [Output]) -> [Output.Kind] { outputs.map(\.kind) }

    /// Advances to each deadline of `node` until `interval` has passed, nothing arriving; what it sent, with its times.
    private func runAlone(_ node: Node, for interval: Interval) -> [(at: MonotonicTime, output: Output)] {
        let end = node.clock.now + interval
        var sent: [(at: MonotonicTime, output: Output)] = []
        while node.device.nextDeadline <= end {
            node.clock.now = max(node.clock.now, node.device.nextDeadline)
            node.tick()
            sent += node.outputs().map { (node.clock.now, $0) }
        }
        node.clock.now = end
        return sent
    }

    @Test func `the constants are those of the paper`() {
        #expect(Timers.rekeyAfterTime == .seconds(120))
        #expect(Timers.rejectAfterTime == .seconds(180))
        #expect(Timers.rekeyAttemptTime == .seconds(90))
        #expect(Timers.rekeyTimeout == .seconds(5))
        #expect(Timers.keepaliveTimeout == .seconds(10))
        #expect(Timers.zeroKeysTime == .seconds(540))
        #expect(Timers.rekeyOnReceiveTime == .seconds(165))
        #expect(cookieRefreshTime == .seconds(120))
        #expect(Keypair.rekeyAfterMessages == 1 << 60)
        #expect(Keypair.rejectAfterMessages == UInt64.max - (1 << 13))  // 2^64 - 2^13 - 1
    }

    @Test func `rekeyTimeout: an initiation is retried every 5 s and up to 333 ms`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        var last = pair.clock.now
        #expect(kinds(pair.a.outputs()) == [.initiation])
        let retries = runAlone(pair.a, for: .seconds(80))
        #expect(retries.count == 15 && retries.allSatisfy { $0.output.kind == .initiation })
        var gaps: Set<UInt64> = []
        for retry in retries {
            let gap = retry.at.since(last)
            #expect(gap >= .seconds(5) && gap < .milliseconds(5334))
            gaps.insert(gap.nanoseconds)
            last = retry.at
        }
        #expect(gaps.count > 10, "the jitter is not random")
        #expect(Set(retries.map(\.output.bytes)).count == retries.count, "a retry is a new handshake")
    }

    private func repeating() throws -> Pair {
        var configuration = Device.Configuration()
        configuration.repeatsHandshakes = true
        return try Pair(configuration: configuration)
    }

    @Test func `repetitions: the first initiation goes again as it is, later ones do not`() throws {
        let pair = try repeating()
        try pair.a.shakeHands(with: pair.b)
        let (begin, first) = (pair.clock.now, pair.a.outputs())
        let sent = runAlone(pair.a, for: .seconds(16))
        #expect(sent.prefix(4).map { $0.at.since(begin) } == Timers.repetitions)
        #expect(sent.prefix(4).allSatisfy { $0.output.bytes == first.first?.bytes })
        #expect(sent.count == 7 && Set(sent.map(\.output.bytes)).count == 4)
        // Nothing is left of them after an answer.
        let another = try repeating()
        try another.connect()
        #expect(runAlone(another.a, for: .seconds(4)).isEmpty)
    }

    @Test func `repetitions: a response that was lost comes again, the same, on the way of what asked for it`() throws {
        let pair = try repeating()
        try pair.a.shakeHands(with: pair.b)
        let initiation = try #require(pair.a.outputs().first?.bytes)
        pair.b.receive(initiation, from: pair.a.path)
        let lost = try #require(pair.b.outputs().first)
        #expect(lost.kind == .response)
        // A stranger that repeats what it saw gets what is already known, no more than it sent, and moves nothing.
        let id = try pair.b.peer(pair.a)
        let stranger = direct("203.0.113.9:9")
        pair.b.receive(initiation, from: stranger)
        let copy = try #require(pair.b.outputs().first)
        #expect(copy.bytes == lost.bytes && copy.path == stranger && copy.bytes.count < initiation.count)
        #expect(pair.b.device.path(id) == pair.a.path)
        pair.clock.advance(Timers.repetitions[0])
        pair.a.tick()
        let again = try #require(pair.a.outputs().first?.bytes)
        pair.b.receive(again, from: pair.a.path)
        let response = try #require(pair.b.outputs().first)
        #expect(response.bytes == lost.bytes && response.path == pair.a.path)
        pair.a.receive(response.bytes, from: pair.b.path)
        pair.settle()
        let (toB, toA) = (pair.a.send(try pair.toB()).datagram, pair.b.send(try pair.toA()).datagram)
        #expect(toB != nil && toA != nil)
        // The session is used: nothing to repeat.
        pair.b.receive(initiation, from: pair.a.path)
        #expect(pair.b.outputs().isEmpty)
    }

    @Test func `repetitions: a response comes again a few times only, and never from a device that does not repeat`()
        throws
    {
        for (pair, answers) in [(try repeating(), Timers.repetitions.count + 2), (try Pair(), 1)] {
            try pair.a.shakeHands(with: pair.b)
            let initiation = try #require(pair.a.outputs().first?.bytes)
            var responses = 0
            for _ in 0..<20 {
                pair.b.receive(initiation, from: pair.a.path)
                responses += pair.b.outputs().count
                pair.clock.advance(.milliseconds(100))
            }
            #expect(responses == answers)
            #expect(pair.b.drops[.replayedInitiation] == 19)
        }
    }

    @Test func `rekeyTimeout: what is asked for sooner is put off, not forgotten`() throws {
        let pair = try Pair()
        try pair.connect()
        // B has just answered, and now its session is gone: it may not initiate before 5 s are over.
        let id = try pair.b.peer(pair.a)
        pair.clock.advance(.seconds(1))
        pair.a.device.removePeer(try pair.a.peer(pair.b))
        try pair.b.device.setPrivateKey(secretOf(pair.b))
        #expect(pair.b.send(try pair.toA()).result == .queued(id))
        #expect(kinds(pair.b.outputs()) == [.initiation], "another key starts anew")
        pair.clock.advance(.seconds(1))
        #expect(pair.b.send(try pair.toA()).result == .queued(id))
        #expect(pair.b.outputs().isEmpty)
        #expect(kinds(runAlone(pair.b, for: .milliseconds(4334)).map(\.output)) == [.initiation])
    }

    private func secretOf(_ node: Node) throws -> SecretKey {
        let bytes = node.device.exportPrivateKey()
        return try SecretKey(copying: try #require(bytes))
    }

    @Test func `rekeyAttemptTime: after 90 s without an answer it is given up, and packets that waited are dropped`()
        throws
    {
        let pair = try Pair()
        let id = try pair.a.peer(pair.b)
        for _ in 0..<3 { pair.a.send(try pair.toB()) }
        let start = pair.clock.now
        #expect(kinds(pair.a.outputs()) == [.initiation])
        let sent = runAlone(pair.a, for: .seconds(200))
        #expect(sent.count == 17 || sent.count == 16)
        #expect(sent.allSatisfy { $0.at.since(start) < .seconds(90) })
        #expect(pair.a.events() == [.handshakeStarted(id), .handshakeFailed(id)])
        #expect(pair.a.drops[.handshakeGivenUp] == 3)
        // A new packet begins a new attempt.
        #expect(pair.a.send(try pair.toB()).result == .queued(id))
        #expect(kinds(pair.a.outputs()) == [.initiation])
        #expect(pair.a.events() == [.handshakeStarted(id)])
    }

    @Test func `rekeyAttemptTime: a new packet starts the 90 s again`() throws {
        let pair = try Pair()
        pair.a.send(try pair.toB())
        _ = runAlone(pair.a, for: .seconds(80))
        pair.a.send(try pair.toB())
        _ = runAlone(pair.a, for: .milliseconds(89_999))
        #expect(!pair.a.events().contains(.handshakeFailed(try pair.a.peer(pair.b))))
        _ = runAlone(pair.a, for: .milliseconds(1))
        #expect(pair.a.events() == [.handshakeFailed(try pair.a.peer(pair.b))])
    }

    @Test func `rekeyAfterTime: the initiator asks for new keys when it sends after 120 s`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.milliseconds(119_999))
        #expect(try pair.flows())
        #expect(pair.a.outputs().isEmpty)
        pair.clock.advance(.milliseconds(1))
        let (result, datagram) = pair.a.send(try pair.toB())
        #expect(datagram != nil, "\(result)")
        #expect(kinds(pair.a.outputs()) == [.initiation])
    }

    @Test func `rekeyAfterTime: the responder does not ask, however much it sends`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.seconds(179))
        #expect(pair.b.send(try pair.toA()).datagram != nil)
        #expect(pair.b.outputs().isEmpty)
    }

    @Test func `rekeying on receiving: the initiator asks when data comes after 165 s, once`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.milliseconds(164_999))
        for expected in [[], [Output.Kind.initiation], []] {
            let datagram = try #require(pair.b.send(try pair.toA()).datagram)
            #expect(pair.a.receive(datagram, from: pair.b.path).inner != nil)
            #expect(kinds(pair.a.outputs()) == expected)
            pair.clock.advance(.milliseconds(1))
        }
    }

    @Test func `rejectAfterTime: after 180 s nothing is sealed, and a packet waits for new keys`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.milliseconds(179_999))
        #expect(pair.b.send(try pair.toA()).datagram != nil)
        pair.clock.advance(.milliseconds(1))
        #expect(pair.b.send(try pair.toA()).result == .queued(try pair.b.peer(pair.a)))
        #expect(kinds(pair.b.outputs()) == [.initiation])
    }

    @Test func `rejectAfterTime: after 180 s nothing is opened`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.milliseconds(179_999))
        let datagrams = try (0..<2).map { _ in try #require(pair.b.send(try pair.toA()).datagram) }
        #expect(pair.a.receive(datagrams[0], from: pair.b.path).inner != nil)
        pair.clock.advance(.milliseconds(1))
        #expect(pair.a.receive(datagrams[1], from: pair.b.path).result == .dropped(.expiredKeypair))
    }

    @Test func `keepaliveTimeout: who receives and has nothing to say sends an empty packet after 10 s`() throws {
        let pair = try Pair()
        try pair.connect()
        let datagram = try #require(pair.a.send(try pair.toB()).datagram)
        pair.b.receive(datagram, from: pair.a.path)
        let start = pair.clock.now
        let sent = runAlone(pair.b, for: .seconds(60))
        #expect(sent.map { $0.at.since(start) } == [.seconds(10)])
        #expect(sent.map(\.output.kind) == [.keepalive] && sent.map(\.output.bytes.count) == [32])
        #expect(pair.a.receive(sent[0].output.bytes, from: pair.b.path).result == .keepalive(try pair.a.peer(pair.b)))
    }

    @Test func `keepaliveTimeout: data sent in time makes the keepalive unnecessary`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.b.receive(try #require(pair.a.send(try pair.toB()).datagram), from: pair.a.path)
        pair.clock.advance(.seconds(9))
        pair.b.send(try pair.toA())
        #expect(runAlone(pair.b, for: .seconds(10)).isEmpty)
    }

    @Test func `keepaliveTimeout: data that comes while one is due asks for another`() throws {
        let pair = try Pair()
        try pair.connect()
        let start = pair.clock.now
        for _ in 0..<2 {
            pair.b.receive(try #require(pair.a.send(try pair.toB()).datagram), from: pair.a.path)
            pair.clock.advance(.seconds(4))
        }
        let sent = runAlone(pair.b, for: .seconds(60))
        #expect(sent.map { $0.at.since(start) } == [.seconds(10), .seconds(20)])
    }

    @Test func `keepaliveTimeout: an empty packet is not answered by another`() throws {
        let pair = try Pair()
        try pair.connect()
        try pair.a.keepalive(to: pair.b)
        pair.settle()
        #expect(runAlone(pair.b, for: .seconds(60)).isEmpty)
    }

    @Test func `new handshake: who sends and hears nothing for 15 s asks for new keys`() throws {
        let pair = try Pair()
        try pair.connect()
        // A rekeyTimeout after the handshake, so that it is not put off.
        pair.clock.advance(.seconds(6))
        let start = pair.clock.now
        pair.a.send(try pair.toB())
        pair.clock.advance(.seconds(3))
        pair.a.send(try pair.toB())
        let sent = runAlone(pair.a, for: .seconds(13))
        #expect(sent.map(\.output.kind) == [.initiation])
        let after = try #require(sent.first).at.since(start)
        #expect(after >= .seconds(15) && after < .milliseconds(15_334))
    }

    @Test func `new handshake: anything authentic that comes stops it`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.seconds(6))
        pair.b.receive(try #require(pair.a.send(try pair.toB()).datagram), from: pair.a.path)
        pair.clock.advance(.seconds(14))
        try pair.b.keepalive(to: pair.a)
        pair.settle()
        #expect(runAlone(pair.a, for: .seconds(100)).isEmpty)
    }

    @Test func `zero keys: 540 s after the last session began, everything is erased`() throws {
        let pair = try Pair()
        try pair.connect()
        let id = try pair.a.peer(pair.b)
        pair.run(until: pair.clock.now + .milliseconds(539_999))
        #expect(try pair.a.snapshot(of: pair.b).hasSession)
        pair.run(until: pair.clock.now + .milliseconds(1))
        #expect(pair.a.events() == [.keysExpired(id)])
        #expect(try !pair.a.snapshot(of: pair.b).hasSession)
        #expect(pair.a.device.nextDeadline == .never && pair.b.device.nextDeadline == .never)
        pair.a.send(try pair.toB())
        pair.settle()
        #expect(try pair.flows())
    }

    @Test func `zero keys: a given-up attempt leaves nothing behind after 540 s`() throws {
        let pair = try Pair()
        let id = try pair.a.peer(pair.b)
        pair.a.send(try pair.toB())
        let initiation = pair.a.outputs()[0]
        let start = pair.clock.now
        _ = runAlone(pair.a, for: .seconds(629))
        _ = pair.a.events()
        _ = runAlone(pair.a, for: .seconds(1))
        #expect(pair.a.events() == [.keysExpired(id)])
        #expect(pair.clock.now.since(start) == .seconds(630))
        // Its response finds nobody.
        pair.b.receive(initiation.bytes, from: pair.a.path)
        let response = pair.b.outputs()[0]
        #expect(pair.a.receive(response.bytes, from: pair.b.path).result == .dropped(.unexpectedResponse))
    }

    @Test func `persistent keepalive: at once, then every interval without other traffic`() throws {
        let pair = try Pair()
        let id = try pair.a.peer(pair.b)
        pair.a.device.setPersistentKeepalive(id, seconds: 25)
        #expect(pair.a.device.nextDeadline <= pair.clock.now)
        pair.a.tick()
        // Without a session the first one shakes hands.
        pair.settle()
        #expect(pair.a.events().contains(.handshakeCompleted(id, asInitiator: true)))
        let start = pair.clock.now
        var sent = runAlone(pair.a, for: .seconds(60))
        #expect(sent.map { $0.at.since(start) } == [.seconds(25), .seconds(50)])
        #expect(sent.allSatisfy { $0.output.kind == .keepalive })
        // Other traffic puts it off, in either direction.
        pair.a.send(try pair.toB())
        sent = runAlone(pair.a, for: .seconds(24))
        #expect(sent.filter { $0.output.kind == .keepalive }.isEmpty)
        pair.a.device.setPersistentKeepalive(id, seconds: 0)
        #expect(runAlone(pair.a, for: .seconds(100)).filter { $0.output.kind == .keepalive }.isEmpty)
    }

    @Test func `persistent keepalive: begins when the device gets its private key`() throws {
        let pair = try Pair()
        let bytes = pair.a.device.exportPrivateKey()
        pair.a.device.setPrivateKey(nil)
        pair.a.device.setPersistentKeepalive(try #require(pair.a.device.peerIDs.first), seconds: 25)
        #expect(runAlone(pair.a, for: .seconds(100)).isEmpty)
        pair.a.device.setPrivateKey(try SecretKey(copying: try #require(bytes)))
        pair.a.tick()
        #expect(kinds(pair.a.outputs()) == [.initiation])
    }

    @Test func `persistent keepalive: keeps asking for a session that it does not get`() throws {
        let pair = try Pair()
        pair.a.device.setPersistentKeepalive(try pair.a.peer(pair.b), seconds: 25)
        let sent = runAlone(pair.a, for: .seconds(600))
        #expect(sent.allSatisfy { $0.output.kind == .initiation })
        // Attempts of 90 s, and never more than 25 s between them.
        for (earlier, later) in zip(sent, sent.dropFirst()) { #expect(later.at.since(earlier.at) <= .seconds(25)) }
        #expect(pair.clock.now.since(try #require(sent.last).at) <= .seconds(25))
    }

    @Test func `a device that has nothing to do waits for nothing`() throws {
        let pair = try Pair()
        #expect(pair.a.device.nextDeadline == .never)
        pair.a.tick()
        #expect(pair.a.outputs().isEmpty && pair.a.events().isEmpty)
    }
}
