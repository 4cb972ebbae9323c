import Addressing
import Sodium
import Testing
import Timing
import WireGuard

/// What a device does when more handshakes are asked for than it wants to compute (WireGuard paper 5.3, 5.4.7).
@Suite struct LoadTests {
    /// A pair whose devices are under load from the second handshake message in a second on.
    private func pair() throws -> Pair {
        var configuration = Device.Configuration()
        (configuration.handshakesPerSecond, configuration.handshakeBurst) = (1, 1)
        return try Pair(configuration: configuration)
    }

    /// Puts `node` under load, with a message by somebody who knows its key.
    private func load(_ node: Node) throws {
        var stranger = try HandMadePeer(seed: 40)
        for _ in 0..<2 {
            let stamp = [UInt8](repeating: 1, count: 12)
            let message = try stranger.initiation(to: node.publicKey, payload: stamp, now: node.clock.now)
            node.receive(message, from: direct("203.0.113.1:1"))
        }
        _ = node.outputs()
    }

    @Test func `an initiation under load is answered by a cookie, and the next one with it is accepted`() throws {
        let pair = try pair()
        try pair.a.shakeHands(with: pair.b)
        let first = pair.a.outputs()[0]
        try load(pair.b)
        #expect(pair.b.receive(first.bytes, from: pair.a.path).result == .dropped(.cookieRequired))
        let replies = pair.b.outputs()
        #expect(replies.map(\.kind) == [.cookieReply] && replies[0].path == pair.a.path && replies[0].peer == nil)
        #expect(replies[0].bytes.count <= first.bytes.count, "no answer is larger than its question")
        #expect(pair.a.receive(replies[0].bytes, from: pair.b.path).result == .cookie(try pair.a.peer(pair.b)))
        #expect(pair.a.outputs().isEmpty, "the paper waits for the retry")

        pair.clock.now = pair.a.device.nextDeadline
        pair.a.tick()
        let second = pair.a.outputs()[0]
        #expect(second.bytes.suffix(16).contains { $0 != 0 })
        try load(pair.b)
        #expect(
            pair.b.receive(second.bytes, from: pair.a.path).result == .handshake(try pair.b.peer(pair.a), .initiation))
    }

    @Test func `a response under load is answered by a cookie, and the next one with it is accepted`() throws {
        let pair = try pair()
        try pair.a.shakeHands(with: pair.b)
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        let response = pair.b.outputs()[0]
        try load(pair.a)
        #expect(pair.a.receive(response.bytes, from: pair.b.path).result == .dropped(.cookieRequired))
        let reply = pair.a.outputs()[0]
        #expect(pair.b.receive(reply.bytes, from: pair.a.path).result == .cookie(try pair.b.peer(pair.a)))

        pair.clock.now = pair.a.device.nextDeadline
        pair.a.tick()
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        let second = pair.b.outputs()[0]
        try load(pair.a)
        #expect(
            pair.a.receive(second.bytes, from: pair.b.path).result == .handshake(try pair.a.peer(pair.b), .response))
    }

    @Test func `a cookie is of no use from another address`() throws {
        let pair = try pair()
        try pair.a.shakeHands(with: pair.b)
        try load(pair.b)
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        pair.a.receive(pair.b.outputs()[0].bytes, from: pair.b.path)
        pair.clock.now = pair.a.device.nextDeadline
        pair.a.tick()
        let second = pair.a.outputs()[0]
        try load(pair.b)
        #expect(pair.b.receive(second.bytes, from: direct("198.51.100.1:1001")).result == .dropped(.cookieRequired))
    }

    @Test func `a source with cookies is limited to 5 at once under load`() throws {
        let pair = try pair()
        try load(pair.b)
        // One who has a cookie asks again and again.
        var stranger = try HandMadePeer(seed: 41)
        var generator = CookieGenerator(pair.b.publicKey)
        var results: [DropReason: Int] = [:]
        for step in 0..<12 {
            var message = try Array(
                stranger.initiation(
                    to: pair.b.publicKey, payload: [UInt8](repeating: 2, count: 12), now: pair.clock.now
                ).prefix(116))
            generator.appendMACs(to: &message, now: pair.clock.now)
            if case .dropped(let reason) = pair.b.receive(message, from: pair.a.path).result {
                results[reason, default: 0] += 1
            }
            if step == 0 {
                let reply = try #require(pair.b.outputs().first).bytes
                let isConsumed = generator.consume(unsafe reply.span.bytes, now: pair.clock.now)
                #expect(isConsumed)
            }
        }
        #expect(results == [.cookieRequired: 1, .unknownPeer: 5, .rateLimited: 6])
    }

    @Test func `messages with a wrong mac1 do not cause load and get no answer`() throws {
        let pair = try pair()
        for _ in 0..<100 {
            let result = pair.b.receive([1, 0, 0, 0] + [UInt8](repeating: 3, count: 144), from: pair.a.path).result
            #expect(result == .dropped(.invalidMAC1))
        }
        #expect(pair.b.outputs().isEmpty)
        try pair.a.shakeHands(with: pair.b)
        #expect(
            pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path).result
                == .handshake(try pair.b.peer(pair.a), .initiation))
    }

    @Test func `load is over a second after the messages stop`() throws {
        let pair = try pair()
        try load(pair.b)
        pair.clock.advance(.seconds(3))
        try pair.a.shakeHands(with: pair.b)
        #expect(
            pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path).result
                == .handshake(try pair.b.peer(pair.a), .initiation))
    }

    @Test func `sessions carry packets under load as ever`() throws {
        let pair = try pair()
        try pair.connect()
        try load(pair.a)
        try load(pair.b)
        #expect(try pair.flows())
    }

    @Test func `two devices that are always under load still get a session`() throws {
        let pair = try pair()
        pair.a.send(try pair.toB())
        for _ in 0..<8 where try !pair.a.snapshot(of: pair.b).hasSession {
            let initiations = pair.a.outputs()
            try load(pair.a)
            try load(pair.b)
            for output in initiations { pair.b.receive(output.bytes, from: pair.a.path) }
            for output in pair.b.outputs() { pair.a.receive(output.bytes, from: pair.b.path) }
            for output in pair.a.outputs() where output.kind == .cookieReply {
                pair.b.receive(output.bytes, from: pair.a.path)
            }
            pair.clock.now = max(pair.clock.now, min(pair.a.device.nextDeadline, pair.clock.now + .seconds(6)))
            pair.a.tick()
        }
        #expect(try pair.a.snapshot(of: pair.b).hasSession)
    }
}
