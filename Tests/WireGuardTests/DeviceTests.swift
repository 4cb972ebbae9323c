import Addressing
import Noise
import Sodium
import TestSupport
import Testing
import Timing
import WireGuard

@Suite struct DeviceTests {
    @Test(arguments: [false, true]) func `a packet starts a handshake and arrives, with and without a preshared key`(
        presharedKey: Bool
    ) throws {
        let pair = try Pair(presharedKey: presharedKey)
        let inner = try pair.toB(Array("hello".utf8))
        #expect(pair.a.send(inner).result == .queued(try pair.a.peer(pair.b)))
        #expect(pair.settle() == [inner])
        #expect(try pair.flows())
        #expect(pair.a.drops.total == 0 && pair.b.drops.total == 0)
    }

    @Test func `IPv6 packets flow too`() throws {
        let pair = try Pair()
        let inner = try packet(from: "fd00::1", to: "fd00::2", payload: [7])
        pair.a.send(inner)
        #expect(pair.settle() == [inner])
    }

    @Test func `ends with different preshared keys make no session`() throws {
        let pair = try Pair(presharedKey: true)
        try pair.b.device.setPresharedKey(pair.b.peer(pair.a), nil)
        pair.a.send(try pair.toB())
        #expect(pair.settle().isEmpty)
        #expect(pair.a.drops[.invalidHandshake] == 1)
        #expect(try !pair.a.snapshot(of: pair.b).hasSession)
    }

    @Test func `128 packets wait in order, and the oldest go first when more come`() throws {
        let pair = try Pair()
        let packets = try (0..<130).map { try pair.toB([UInt8($0)]) }
        for packet in packets { pair.a.send(packet) }
        #expect(pair.settle() == Array(packets.dropFirst(2)))
        #expect(pair.a.drops[.queueOverflow] == 2)
    }

    @Test func `what cannot be sent is dropped and counted by reason`() throws {
        let pair = try Pair()
        #expect(pair.a.send([]).result == .dropped(.malformedInnerPacket))
        #expect(pair.a.send([0x45, 1, 2]).result == .dropped(.malformedInnerPacket))
        let stranger = try packet(from: "10.0.0.1", to: "10.0.0.9")
        #expect(pair.a.send(stranger).result == .dropped(.noAllowedIP))
        pair.a.device.setPath(try pair.a.peer(pair.b), nil)
        #expect(pair.a.send(try pair.toB()).result == .dropped(.noPath))
        #expect(pair.a.drops[.malformedInnerPacket] == 2)
        #expect(pair.a.drops[.noAllowedIP] == 1 && pair.a.drops[.noPath] == 1)
        #expect(pair.a.drops.total == 4)
    }

    @Test func `an initiation that went by a path which is given up goes by the new one as well`() throws {
        let pair = try Pair()
        let (id, moved) = (try pair.a.peer(pair.b), direct("192.0.2.9:9"))
        pair.a.send(try pair.toB())
        let lost = pair.a.outputs()
        pair.clock.advance(.milliseconds(600))
        pair.a.device.setPath(id, moved)
        let again = pair.a.outputs()
        #expect(again.map(\.path) == [moved] && again.map(\.bytes) == lost.map(\.bytes))
        // Nothing else has changed, and it is answered once, wherever it comes in.
        pair.a.device.setPath(id, moved)
        pair.a.device.setPath(id, nil)
        pair.a.device.setPath(id, pair.b.path)
        #expect(pair.a.outputs().isEmpty)
        for output in again + lost { pair.b.receive(output.bytes, from: pair.a.path) }
        #expect(pair.settle().count == 1)
        pair.a.device.setPath(id, moved)
        #expect(pair.a.outputs().isEmpty)
        #expect(try pair.flows())
    }

    @Test func `a buffer that is too small gets nothing`() throws {
        let pair = try Pair()
        try pair.connect()
        let inner = try pair.toB()
        for size in 0..<64 {
            var output = [UInt8](repeating: 0, count: size)
            let result = unsafe output.withUnsafeMutableBytes { output in
                unsafe inner.withUnsafeBytes {
                    unsafe pair.a.device.encapsulate($0, into: output, now: pair.clock.now, wall: pair.clock.wall)
                }
            }
            #expect(result == .dropped(.bufferTooSmall))
        }
        #expect(pair.a.send(inner).datagram?.count == 64)
    }

    @Test func `packets are padded to 16 bytes but not beyond the MTU`() throws {
        let pair = try Pair()
        try pair.connect()
        for (size, expected) in [(20, 32), (32, 32), (33, 48), (1408, 1408), (1409, 1420), (1420, 1420), (1500, 1500)] {
            let inner = try pair.toB([UInt8](repeating: 3, count: size - 20))
            let datagram = try #require(pair.a.send(inner).datagram)
            #expect(datagram.count == expected + 32, "inner \(size)")
            #expect(pair.b.receive(datagram, from: pair.a.path).inner == inner)
        }
    }

    @Test func `a source that the peer may not use is dropped after it was authenticated`() throws {
        let pair = try Pair()
        try pair.connect()
        let forged = try packet(from: "10.0.0.77", to: "10.0.0.2")
        let datagram = try #require(pair.a.send(forged).datagram)
        #expect(pair.b.receive(datagram, from: pair.a.path).result == .dropped(.disallowedSource))
        #expect(pair.b.drops[.disallowedSource] == 1)
    }

    @Test func `an inner packet that lies about its length, or is none, is dropped`() throws {
        let pair = try Pair()
        // A peer that seals whatever it likes, as our own device would not.
        let keypair = try HandMadePeer(seed: 5).session(with: pair.b, allowed: "0.0.0.0/0")
        let good = try packet(from: "10.7.7.7", to: "10.0.0.2", payload: [1, 2, 3])
        let short = Array(good.prefix(20))
        var small = good
        (small[2], small[3]) = (0, 19)
        for (inner, reason) in [
            (good, nil), (short, .malformedInnerPacket), (small, .malformedInnerPacket),
            ([UInt8](repeating: 0x11, count: 32), .malformedInnerPacket), ([0x45], .malformedInnerPacket),
            ([UInt8](repeating: 0x60, count: 39), .malformedInnerPacket),
        ] as [([UInt8], DropReason?)] {
            var datagram = [UInt8](repeating: 0, count: inner.count + 32)
            _ = unsafe datagram.withUnsafeMutableBytes { output in
                unsafe inner.withUnsafeBytes { unsafe keypair.seal($0, padded: inner.count, into: output) }
            }
            let result = pair.b.receive(datagram, from: pair.a.path).result
            if let reason { #expect(result == .dropped(reason)) } else { #expect(result.authenticatedPeer != nil) }
        }
        #expect(pair.b.drops[.malformedInnerPacket] == 5)
    }

    @Test func `roaming follows the last authenticated packet`() throws {
        let pair = try Pair()
        try pair.connect()
        let moved = direct("198.51.100.7:7", socket: 2)
        var forged = try #require(pair.a.send(try pair.toB()).datagram)
        forged[20] ^= 1
        pair.b.receive(forged, from: moved)
        #expect(try pair.b.snapshot(of: pair.a).path == pair.a.path)
        let datagram = try #require(pair.a.send(try pair.toB()).datagram)
        pair.b.receive(datagram, from: moved)
        #expect(try pair.b.snapshot(of: pair.a).path == moved)
        // A replay from elsewhere does not move it back.
        pair.b.receive(datagram, from: pair.a.path)
        #expect(try pair.b.snapshot(of: pair.a).path == moved)
        guard case .sealed(_, let path, _) = pair.b.send(try pair.toA()).result else {
            Issue.record("not sealed")
            return
        }
        #expect(path == moved)
    }

    @Test func `when the caller decides, paths stay, but a response goes where the initiation came from`() throws {
        var configuration = Device.Configuration()
        configuration.roaming = .caller
        let pair = try Pair(configuration: configuration)
        let moved = Path.relayed(relay: 1, AgentID(high: 1, low: 2))
        try pair.a.shakeHands(with: pair.b)
        let result = pair.b.receive(pair.a.outputs()[0].bytes, from: moved).result
        #expect(result.authenticatedPeer == (try pair.b.peer(pair.a)))
        let response = pair.b.outputs()[0]
        #expect(response.path == moved)
        #expect(try pair.b.snapshot(of: pair.a).path == pair.a.path)
        pair.a.receive(response.bytes, from: moved)
        #expect(try pair.a.snapshot(of: pair.b).path == pair.b.path)
        pair.settle()
        #expect(try pair.flows())
    }

    @Test func `a device without a private key does nothing`() throws {
        let pair = try Pair()
        try pair.a.shakeHands(with: pair.b)
        let initiation = pair.a.outputs()[0]
        pair.b.device.setPrivateKey(nil)
        #expect(pair.b.device.publicKey == nil)
        #expect(pair.b.receive(initiation.bytes, from: pair.a.path).result == .dropped(.noPrivateKey))
        #expect(pair.b.send(try pair.toA()).result == .dropped(.noPrivateKey))
        let id = try #require(pair.b.device.peerIDs.first)
        pair.b.device.startHandshake(id, now: pair.clock.now, wall: pair.clock.wall)
        pair.b.device.sendKeepalive(id, now: pair.clock.now, wall: pair.clock.wall)
        pair.b.device.setPersistentKeepalive(id, seconds: 1)
        pair.b.tick()
        #expect(pair.b.outputs().isEmpty)
    }

    @Test func `another private key ends the sessions, and the new one works once it is known`() throws {
        let pair = try Pair()
        try pair.connect()
        var random = SeededRandom(seed: 77)
        let key = try SecretKey(using: &random)
        let publicKey = X25519.publicKey(of: key)
        pair.b.device.setPrivateKey(key)
        #expect(pair.b.send(try pair.toA()).result == .queued(try pair.b.peer(pair.a)))
        pair.settle()
        #expect(pair.a.drops[.unknownPeer] == 1)
        pair.clock.advance(.milliseconds(100))
        pair.a.device.removePeer(try #require(pair.a.device.peerIDs.first))
        let id = try pair.a.device.addPeer(publicKey)
        pair.a.device.setAllowedIPs(id, [try prefix("10.0.0.2/32")])
        pair.a.device.setPath(id, pair.b.path)
        pair.a.send(try pair.toB())
        #expect(pair.settle().count == 2)
        #expect(try pair.flows())
    }

    @Test func `a peer with the device's own key is refused, or removed when the key becomes its own`() throws {
        let pair = try Pair()
        #expect(throws: DeviceError.ownPublicKey) { try pair.a.device.addPeer(pair.a.publicKey) }
        let bytes = pair.b.device.exportPrivateKey()
        pair.a.device.setPrivateKey(try SecretKey(copying: try #require(bytes)))
        #expect(pair.a.device.peerIDs.isEmpty)
        #expect(pair.a.send(try pair.toB()).result == .dropped(.noAllowedIP))
    }

    @Test func `a peer whose public key nobody can own makes no handshake`() throws {
        let pair = try Pair()
        let id = try pair.a.device.addPeer(.zero)
        pair.a.device.setAllowedIPs(id, [try prefix("10.9.0.0/16")])
        pair.a.device.setPath(id, pair.b.path)
        #expect(pair.a.send(try packet(from: "10.0.0.1", to: "10.9.0.1")).result == .queued(id))
        #expect(pair.a.outputs().isEmpty && pair.a.drops[.invalidHandshake] == 1)
    }

    @Test func `adding a peer again finds it, and a removed one is gone`() throws {
        let pair = try Pair()
        try pair.connect()
        let id = try pair.a.peer(pair.b)
        let again = try pair.a.device.addPeer(pair.b.publicKey)
        #expect(again == id)
        let datagram = try #require(pair.b.send(try pair.toA()).datagram)
        pair.a.device.removePeer(id)
        pair.a.device.removePeer(id)
        #expect(pair.a.device.snapshot(id) == nil)
        #expect(pair.a.receive(datagram, from: pair.b.path).result == .dropped(.unknownReceiver))
        #expect(pair.a.send(try pair.toB()).result == .dropped(.noAllowedIP))
        #expect(pair.a.device.nextDeadline == .never)
        let other = try pair.a.device.addPeer(pair.b.publicKey)
        #expect(other != id && other.index == id.index)
    }

    @Test func `many peers keep their own sessions while others come and go`() throws {
        let clock = VirtualClock()
        let hub = try Node(seed: 500, clock: clock, path: direct("192.0.2.1:1"))
        var ids: [PeerID] = []
        for number in 0..<40 {
            let peer = try HandMadePeer(seed: 600 + UInt64(number))
            ids.append(try hub.device.addPeer(peer.key.publicKey))
            _ = try peer.session(with: hub, allowed: "10.1.\(number).0/24")
            clock.advance(.milliseconds(1))
        }
        #expect(hub.device.peerIDs == ids && ids.map(\.index) == Array(0..<40))
        for id in ids where id.index % 3 == 0 { hub.device.removePeer(id) }
        #expect(hub.device.peerIDs == ids.filter { $0.index % 3 != 0 })
        for (number, id) in ids.enumerated() {
            let expected = number % 3 == 0 ? nil : id
            #expect(hub.device.peer(for: try address("10.1.\(number).9")) == expected)
            #expect((hub.device.snapshot(id) != nil) == (expected != nil))
        }
    }

    @Test func `a peer that changed its key is replaced under the same addresses`() throws {
        let pair = try Pair()
        try pair.connect()
        let restarted = try Node(seed: 99, clock: pair.clock, path: direct("192.0.2.2:1002"))
        let own = try restarted.device.addPeer(pair.a.publicKey)
        restarted.device.setAllowedIPs(own, [try prefix("10.0.0.1/32")])
        restarted.device.setPath(own, pair.a.path)

        let new = try pair.a.device.addPeer(restarted.publicKey)
        pair.a.device.setAllowedIPs(new, [try prefix("10.0.0.2/32"), try prefix("fd00::2/128")])
        pair.a.device.setPath(new, restarted.path)
        #expect(pair.a.device.peer(for: try address("10.0.0.2")) == new)
        pair.a.device.removePeer(try pair.a.peer(pair.b))
        #expect(pair.a.device.peer(for: try address("10.0.0.2")) == new)

        let inner = try pair.toB()
        #expect(pair.a.send(inner).result == .queued(new))
        restarted.receive(pair.a.outputs()[0].bytes, from: pair.a.path)
        pair.a.receive(restarted.outputs()[0].bytes, from: restarted.path)
        #expect(restarted.receive(pair.a.outputs()[0].bytes, from: pair.a.path).inner == inner)
    }

    @Test func `a snapshot tells what wg show shows`() throws {
        let pair = try Pair(presharedKey: true)
        pair.a.device.setPersistentKeepalive(try pair.a.peer(pair.b), seconds: 25)
        #expect(try pair.a.snapshot(of: pair.b).lastHandshake == nil)
        try pair.connect()
        let before = try pair.a.snapshot(of: pair.b)
        // 148 and a keepalive of 32 out, 92 in.
        #expect(before.sentBytes == 180 && before.receivedBytes == 92)
        #expect(try pair.flows())
        let after = try pair.a.snapshot(of: pair.b)
        #expect(after.sentBytes == 244 && after.receivedBytes == 156)
        #expect(after.publicKey == pair.b.publicKey && after.hasPresharedKey && after.path == pair.b.path)
        #expect(after.lastHandshake == pair.clock.wall && after.persistentKeepalive == 25 && after.hasSession)
        #expect(after.allowedIPs == [try prefix("10.0.0.2/32"), try prefix("fd00::2/128")])
        let key = pair.a.device.exportPresharedKey(try pair.a.peer(pair.b))
        #expect(key == [UInt8](repeating: 0x77, count: 32))
    }
}
