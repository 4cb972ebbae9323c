import Addressing
import Sodium
import Testing
import Timing
import WireGuard

@Suite struct RekeyTests {
    @Test func `no packet is lost while keys turn over under traffic in both directions`() throws {
        let pair = try Pair()
        try pair.connect()
        var (sent, arrived, handshakes) = (0, 0, 0)
        // One packet each way every 10 ms for 400 s, each handshake message a packet late.
        var late: [(to: Node, from: Node, bytes: [UInt8])] = []
        for step in 0..<40_000 {
            pair.clock.advance(.milliseconds(10))
            pair.a.tick()
            pair.b.tick()
            let due = late
            late = []
            for message in due where message.to.receive(message.bytes, from: message.from.path).inner != nil {
                arrived += 1
            }
            for (from, to, inner) in [(pair.a, pair.b, try pair.toB()), (pair.b, pair.a, try pair.toA())] {
                sent += 1
                if let datagram = from.send(inner).datagram {
                    // Every third packet is overtaken by the next.
                    if step % 3 == 0 {
                        late.append((to, from, datagram))
                    } else if to.receive(datagram, from: from.path).inner != nil {
                        arrived += 1
                    }
                }
            }
            for (from, to) in [(pair.a, pair.b), (pair.b, pair.a)] {
                for output in from.outputs() {
                    handshakes += output.kind == .initiation ? 1 : 0
                    late.append((to, from, output.bytes))
                }
            }
        }
        for message in late where message.to.receive(message.bytes, from: message.from.path).inner != nil {
            arrived += 1
        }
        #expect(arrived == sent)
        #expect(handshakes == 3)
        #expect(pair.a.drops.total == 0 && pair.b.drops.total == 0)
    }

    @Test func `an old packet still opens after a rekey, with the keys before`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.seconds(121))
        let old = try #require(pair.a.send(try pair.toB()).datagram)
        pair.settle()
        #expect(pair.a.events().contains(.handshakeCompleted(try pair.a.peer(pair.b), asInitiator: true)))
        #expect(pair.b.receive(old, from: pair.a.path).inner != nil)
        #expect(try pair.flows())
    }

    @Test func `after two rekeys in their time the first keys are gone`() throws {
        let pair = try Pair()
        try pair.connect()
        let old = try #require(pair.a.send(try pair.toB()).datagram)
        for _ in 0..<2 {
            pair.clock.advance(.seconds(121))
            pair.a.send(try pair.toB())
            pair.settle()
        }
        #expect(pair.b.receive(old, from: pair.a.path).result == .dropped(.unknownReceiver))
    }

    @Test func `however often keys change, no more than three old ones are kept`() throws {
        let pair = try Pair()
        try pair.connect()
        let old = try #require(pair.a.send(try pair.toB()).datagram)
        for _ in 0..<4 {
            pair.clock.advance(.seconds(6))
            try pair.a.shakeHands(with: pair.b)
            pair.settle()
        }
        #expect(pair.b.receive(old, from: pair.a.path).result == .dropped(.unknownReceiver))
    }

    @Test func `the responder does not send with new keys before the initiator does`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.seconds(121))
        pair.a.send(try pair.toB())
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        let response = pair.b.outputs()[0]
        // Still the old keys, which A has.
        let datagram = try #require(pair.b.send(try pair.toA()).datagram)
        #expect(pair.a.receive(datagram, from: pair.b.path).inner != nil)
        pair.a.receive(response.bytes, from: pair.b.path)
        pair.settle()
        #expect(pair.b.events().contains(.handshakeCompleted(try pair.b.peer(pair.a), asInitiator: false)))
        #expect(try pair.flows())
    }

    /// Both initiate at the same time; the messages then arrive in the order of `order`, which picks from those in flight.
    @Test(arguments: 0..<24, [false, true]) func `both ends initiate at once`(order: Int, hasSession: Bool) throws {
        let pair = try Pair(seed: UInt64(order) + 10)
        if hasSession {
            try pair.connect()
            pair.clock.advance(.seconds(6))
        }
        try pair.a.shakeHands(with: pair.b)
        try pair.b.shakeHands(with: pair.a)
        var flight: [(to: Node, from: Node, bytes: [UInt8])] = []
        func collect() {
            for (from, to) in [(pair.a, pair.b), (pair.b, pair.a)] {
                flight += from.outputs().map { (to, from, $0.bytes) }
            }
        }
        collect()
        var choice = order
        while !flight.isEmpty {
            let message = flight.remove(at: choice % flight.count)
            choice = choice / 2 + 1
            message.to.receive(message.bytes, from: message.from.path)
            collect()
        }
        #expect(try pair.flows())
        let completed = pair.a.events() + pair.b.events()
        #expect(completed.contains { if case .handshakeCompleted = $0 { true } else { false } })
        // And nothing keeps trying.
        let before = (try pair.a.snapshot(of: pair.b).sentBytes, try pair.b.snapshot(of: pair.a).sentBytes)
        pair.run(until: pair.clock.now + .seconds(60))
        let after = (try pair.a.snapshot(of: pair.b).sentBytes, try pair.b.snapshot(of: pair.a).sentBytes)
        #expect(after.0 - before.0 <= 64 && after.1 - before.1 <= 64)
    }

    @Test func `both initiating at once loses no packet, and does not happen again`() throws {
        let pair = try Pair(seed: 3)
        try pair.connect()
        var (sent, arrived, initiations) = (0, 0, 0)
        var late: [(to: Node, from: Node, bytes: [UInt8])] = []
        for step in 0..<4000 {
            pair.clock.advance(.milliseconds(100))
            pair.a.tick()
            pair.b.tick()
            if step == 100 {
                try pair.a.shakeHands(with: pair.b)
                try pair.b.shakeHands(with: pair.a)
            }
            // All is a step under way, so that messages cross.
            let due = late
            late = []
            for message in due where message.to.receive(message.bytes, from: message.from.path).inner != nil {
                arrived += 1
            }
            for (from, to, inner) in [(pair.a, pair.b, try pair.toB()), (pair.b, pair.a, try pair.toA())] {
                sent += 1
                if let datagram = from.send(inner).datagram { late.append((to, from, datagram)) }
                for output in from.outputs() {
                    initiations += output.kind == .initiation ? 1 : 0
                    late.append((to, from, output.bytes))
                }
            }
        }
        for message in late where message.to.receive(message.bytes, from: message.from.path).inner != nil {
            arrived += 1
        }
        #expect(arrived == sent)
        #expect(initiations == 2 + 3)
        #expect(pair.a.drops.total == 0 && pair.b.drops.total == 0)
    }

    @Test func `a response that is lost is asked for again`() throws {
        let pair = try Pair()
        let inner = try pair.toB()
        pair.a.send(inner)
        pair.b.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        _ = pair.b.outputs()
        pair.run(until: pair.clock.now + .seconds(6))
        #expect(try pair.flows())
        #expect(pair.a.device.drops.total == 0)
    }

    @Test func `a restarted end that forgot everything is heard within 20 s`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.clock.advance(.seconds(10))
        let id = try pair.b.peer(pair.a)
        pair.b.device.removePeer(id)
        let again = try pair.b.device.addPeer(pair.a.publicKey)
        pair.b.device.setAllowedIPs(again, [try prefix("10.0.0.1/32")])
        let start = pair.clock.now
        let datagram = try #require(pair.a.send(try pair.toB()).datagram)
        #expect(pair.b.receive(datagram, from: pair.a.path).result == .dropped(.unknownReceiver))
        pair.run(until: start + .milliseconds(15_333))
        #expect(try pair.flows())
    }
}
