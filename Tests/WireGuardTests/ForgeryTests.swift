import Addressing
import Noise
import Sodium
import TestSupport
import Testing
import Timing
import WireGuard

/// Replayed, damaged, truncated and oversized messages: dropped, counted by the right reason, and nothing changes.
@Suite struct ForgeryTests {
    /// What an attack must not change.
    private func state(_ pair: Pair) throws -> [String] {
        try [(pair.a, pair.b), (pair.b, pair.a)].map { node, other in
            let snapshot = try node.snapshot(of: other)
            return "\(snapshot.path as Any) \(snapshot.receivedBytes) \(snapshot.sentBytes) \(snapshot.hasSession) "
                + "\(snapshot.lastHandshake as Any) \(node.device.nextDeadline)"
        }
    }

    /// Gives `datagram` to `node` from a stranger's address; the reason it was dropped for.
    private func attack(_ node: Node, _ datagram: [UInt8]) -> DropReason? {
        let before = node.drops
        let result = node.receive(datagram, from: direct("203.0.113.66:666")).result
        guard case .dropped(let reason) = result else {
            Issue.record("accepted: \(result)")
            return nil
        }
        #expect(node.drops[reason] == before[reason] + 1 && node.drops.total == before.total + 1)
        #expect(node.outputs().isEmpty && node.events().isEmpty)
        return reason
    }

    /// Every bit flipped of every field of `message`.
    private func damaged(_ message: [UInt8]) -> [(byte: Int, bytes: [UInt8])] {
        message.indices.flatMap { index in
            [0, 7].map { bit in
                var copy = message
                copy[index] ^= 1 << UInt8(bit)
                return (index, copy)
            }
        }
    }

    /// Reasons that `offset` of a message may be dropped for.
    private func expected(_ offset: Int, _ fields: [(range: Range<Int>, reasons: Set<DropReason>)]) -> Set<DropReason> {
        fields.first { $0.range.contains(offset) }?.reasons ?? []
    }

    @Test func `an initiation with any flipped bit is refused, and the true one still accepted`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        let initiation = pair.a.outputs()[0].bytes
        _ = pair.a.events()
        let before = try state(pair)
        for (byte, bytes) in damaged(initiation) {
            // mac1 covers all but mac2, which means nothing without load.
            guard byte < 132 else { continue }
            let reason = attack(pair.b, bytes)
            #expect(reason == (byte < 4 ? .malformedMessage : .invalidMAC1), "byte \(byte)")
        }
        #expect(try state(pair) == before)
        #expect(
            pair.b.receive(initiation, from: pair.a.path).result == .handshake(try pair.b.peer(pair.a), .initiation))
    }

    @Test func `an initiation that is damaged under a valid mac1 is refused by the handshake`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        let initiation = pair.a.outputs()[0].bytes
        let before = try state(pair)
        for byte in 8..<116 {
            var body = Array(initiation.prefix(116))
            body[byte] ^= 0x08
            var cookies = CookieGenerator(pair.b.publicKey)
            cookies.appendMACs(to: &body, now: pair.clock.now)
            #expect(attack(pair.b, body) == .invalidHandshake, "byte \(byte)")
        }
        #expect(try state(pair) == before)
    }

    @Test func `a response with any flipped bit is refused, and the true one still accepted`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        let response = pair.b.outputs()[0].bytes
        _ = pair.a.events()
        let before = try state(pair)
        for (byte, bytes) in damaged(response) where byte < 76 {
            #expect(attack(pair.a, bytes) == (byte < 4 ? .malformedMessage : .invalidMAC1), "byte \(byte)")
        }
        // The same under a valid mac1. The sender's index is not sealed, but mac1 covers it: who can make that is on path.
        for byte in 8..<60 {
            var body = Array(response.prefix(60))
            body[byte] ^= 0x08
            var cookies = CookieGenerator(pair.a.publicKey)
            cookies.appendMACs(to: &body, now: pair.clock.now)
            let reason = attack(pair.a, body)
            #expect(reason == (byte < 12 ? .unexpectedResponse : .invalidHandshake), "byte \(byte)")
        }
        #expect(try state(pair) == before)
        #expect(pair.a.receive(response, from: pair.b.path).result == .handshake(try pair.a.peer(pair.b), .response))
    }

    @Test func `transport data with any flipped bit is refused, and the true one still accepted`() throws {
        let pair = try Pair()
        try pair.connect()
        let datagram = try #require(pair.a.send(try pair.toB()).datagram)
        let before = try state(pair)
        for (byte, bytes) in damaged(datagram) {
            let allowed = expected(
                byte,
                [
                    (0..<4, [.malformedMessage]), (4..<8, [.unknownReceiver]), (8..<16, [.invalidTransport]),
                    (16..<64, [.invalidTransport]),
                ])
            let reason = try #require(attack(pair.b, bytes))
            #expect(allowed.contains(reason), "byte \(byte): \(reason)")
        }
        #expect(try state(pair) == before)
        #expect(pair.b.receive(datagram, from: pair.a.path).inner == (try pair.toB()))
    }

    @Test func `a cookie reply with any flipped bit is refused`() throws {
        var configuration = Device.Configuration()
        (configuration.handshakesPerSecond, configuration.handshakeBurst) = (1, 1)
        let pair = try Pair(configuration: configuration)
        // The second message of the second is load.
        for _ in 0..<2 {
            try pair.a.shakeHands(with: pair.b)
            pair.b.receive(pair.a.outputs().last?.bytes ?? [], from: pair.a.path)
            pair.clock.advance(.milliseconds(100))
            pair.a.device.setPrivateKey(try secretOf(pair.a))
        }
        try pair.a.shakeHands(with: pair.b)
        pair.b.receive(pair.a.outputs().last?.bytes ?? [], from: pair.a.path)
        let reply = try #require(pair.b.outputs().last { $0.kind == .cookieReply }).bytes
        _ = pair.a.events()
        let before = try state(pair)
        for (byte, bytes) in damaged(reply) {
            #expect(attack(pair.a, bytes) == (byte < 4 ? .malformedMessage : .invalidCookieReply), "byte \(byte)")
        }
        #expect(try state(pair) == before)
        #expect(pair.a.receive(reply, from: pair.b.path).result == .cookie(try pair.a.peer(pair.b)))
        #expect(attack(pair.a, reply) == .invalidCookieReply, "a second time")
    }

    private func secretOf(_ node: Node) throws -> SecretKey {
        let bytes = node.device.exportPrivateKey()
        return try SecretKey(copying: try #require(bytes))
    }

    @Test func `a replayed initiation is refused, at once and much later`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        let initiation = pair.a.outputs()[0].bytes
        pair.b.receive(initiation, from: pair.a.path)
        _ = pair.b.outputs()
        let before = try state(pair)
        for wait: UInt64 in [0, 19, 1, 5000, 200_000] {
            pair.clock.advance(.milliseconds(wait))
            #expect(attack(pair.b, initiation) == .replayedInitiation)
        }
        #expect(try state(pair) == before)
    }

    @Test func `an older initiation than the last is refused`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        let old = pair.a.outputs()[0].bytes
        pair.clock.advance(.seconds(6))
        pair.a.tick()
        let new = pair.a.outputs()[0].bytes
        pair.b.receive(new, from: pair.a.path)
        _ = pair.b.outputs()
        pair.clock.advance(.seconds(1))
        #expect(attack(pair.b, old) == .replayedInitiation)
    }

    @Test func `initiations of one peer within 20 ms are refused`() throws {
        let pair = try Pair()
        var peer = try HandMadePeer(seed: 4)
        let id = try pair.b.device.addPeer(peer.key.publicKey)
        var accepted = 0
        for step in 0..<10 {
            let stamp = TAI64N(unixSeconds: 1000 + Int64(step), nanoseconds: 0).bytes
            let message = try peer.initiation(to: pair.b.publicKey, payload: stamp, now: pair.clock.now)
            let result = pair.b.receive(message, from: pair.a.path).result
            if result == .handshake(id, .initiation) {
                accepted += 1
            } else {
                #expect(result == .dropped(.initiationFlood))
            }
            pair.clock.advance(.milliseconds(10))
        }
        #expect(accepted == 5)
    }

    @Test func `an initiation by a stranger, or with a payload that is no stamp, is refused`() throws {
        let pair = try Pair()
        var stranger = try HandMadePeer(seed: 6)
        let stamp = TAI64N(unixSeconds: 1, nanoseconds: 0).bytes
        let message = try stranger.initiation(to: pair.b.publicKey, payload: stamp, now: pair.clock.now)
        #expect(attack(pair.b, message) == .unknownPeer)
        let other = try stranger.initiation(to: pair.a.publicKey, payload: stamp, now: pair.clock.now)
        #expect(attack(pair.b, other) == .invalidMAC1)
        let long = try stranger.initiation(to: pair.b.publicKey, payload: stamp + [0], now: pair.clock.now)
        #expect(attack(pair.b, long) == .malformedMessage)
    }

    @Test func `a response that is replayed, or to nothing, is refused`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        let response = pair.b.outputs()[0].bytes
        pair.a.receive(response, from: pair.b.path)
        _ = (pair.a.outputs(), pair.a.events())
        let before = try state(pair)
        #expect(attack(pair.a, response) == .unexpectedResponse)
        #expect(attack(pair.b, response) == .invalidMAC1)
        #expect(try state(pair) == before)
    }

    @Test func `replayed transport packets are refused, in any order`() throws {
        let pair = try Pair()
        try pair.connect()
        let datagrams = try (0..<50).map { try #require(pair.a.send(try pair.toB([UInt8($0)])).datagram) }
        for datagram in datagrams.reversed() { #expect(pair.b.receive(datagram, from: pair.a.path).inner != nil) }
        let before = try state(pair)
        for datagram in datagrams { #expect(attack(pair.b, datagram) == .replayedCounter) }
        #expect(try state(pair) == before)
    }

    @Test func `a packet 8,192 behind is refused as a replay, even if it never came`() throws {
        let pair = try Pair()
        try pair.connect()
        let late = try (0..<2).map { _ in try #require(pair.a.send(try pair.toB()).datagram) }
        var last: [UInt8] = []
        for _ in 0..<8191 { last = try #require(pair.a.send(try pair.toB()).datagram) }
        pair.b.receive(last, from: pair.a.path)
        #expect(attack(pair.b, late[0]) == .replayedCounter)
        #expect(pair.b.receive(late[1], from: pair.a.path).inner != nil)
    }

    @Test func `truncated and oversized messages of every kind are refused`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        let initiation = pair.a.outputs()[0].bytes
        pair.b.receive(initiation, from: pair.a.path)
        let response = pair.b.outputs()[0].bytes
        _ = (pair.a.events(), pair.b.events())
        for message in [initiation, response] {
            for count in message.indices { #expect(attack(pair.b, Array(message.prefix(count))) == .malformedMessage) }
            for extra in [1, 2, 16, 1000, 65_000] {
                let larger = message + [UInt8](repeating: 0, count: extra)
                #expect(attack(pair.b, larger) == .malformedMessage)
            }
        }
        for count in [0, 1, 4, 63, 65] {
            let reply = Array(([3, 0, 0, 0] + [UInt8](repeating: 0, count: 100)).prefix(count))
            #expect(attack(pair.b, reply) == .malformedMessage)
        }
        pair.a.receive(response, from: pair.b.path)
        pair.settle()
        _ = (pair.a.events(), pair.b.events())
        let datagram = try #require(pair.a.send(try pair.toB()).datagram)
        for count in datagram.indices {
            #expect(
                attack(pair.b, Array(datagram.prefix(count))) == (count < 32 ? .malformedMessage : .invalidTransport))
        }
        #expect(attack(pair.b, datagram + [0]) == .invalidTransport)
        #expect(attack(pair.b, datagram + [UInt8](repeating: 1, count: 60_000)) == .invalidTransport)
        #expect(pair.b.receive(datagram, from: pair.a.path).inner != nil)
    }

    @Test(arguments: 0..<20) func `random bytes are never accepted and never crash`(seed: UInt64) throws {
        let pair = try Pair()
        try pair.connect()
        let before = try state(pair)
        var random = SeededRandom(seed: seed)
        for _ in 0..<300 {
            let sizes = [0, 3, 4, 31, 32, 48, 64, 92, 148, 200]
            var bytes = (0..<sizes[Int.random(in: 0..<10, using: &random)]).map { _ in
                UInt8.random(in: .min ... .max, using: &random)
            }
            if bytes.count >= 4, Bool.random(using: &random) {
                bytes.replaceSubrange(0..<4, with: [UInt8.random(in: 0...5, using: &random), 0, 0, 0])
            }
            _ = attack(pair.b, bytes)
        }
        #expect(try state(pair) == before)
        #expect(try pair.flows())
    }
}
