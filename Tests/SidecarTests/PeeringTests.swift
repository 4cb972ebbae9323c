import Addressing
import Glibc
import Membership
import Sodium
import TestSupport
import Testing
import Timing
import Tunnel
import WireGuard

@testable import Sidecar

/// The peers of a tunnel with a real TUN, in a namespace that ends with the test. As root.
@Suite(.timeLimit(.minutes(1)))
struct PeeringTests {
    let now = MonotonicTime.zero + .seconds(1000)

    init() throws {
        try #require(geteuid() == 0, "not root: these tests make a namespace and a TUN in it; run sudo make test")
    }

    private func withPeering(_ body: @escaping @Sendable (inout Peering, inout TunnelCore) throws -> Void) throws {
        try Fixture.withPeering(now: now, body)
    }

    @Test func `a peer's old credential does not take the allowed IPs of the address's new holder`() throws {
        let now = now
        try withPeering { peering, core in
            _ = peering.addPeer(try Fixture.record(2, address: 7, issued: Fixture.later(60)), &core, now: now)
            _ = peering.addPeer(try Fixture.record(1, address: 1, sequence: 1), &core, now: now)
            let holder = core.device.peer(for: Fixture.address(7))
            let stolen = peering.addPeer(try Fixture.record(1, address: 7, sequence: 2), &core, now: now)
            #expect(stolen == nil)
            #expect(holder != nil && core.device.peer(for: Fixture.address(7)) == holder)
            #expect(peering.peers[try Fixture.identity(1).id]?.record.credential.addresses == [Fixture.address(1)])
            #expect(peering.counters.addressConflicts == 1)
        }
    }

    @Test func `an agent that announces a peer's WireGuard key gets neither its place nor its allowed IPs`() throws {
        let now = now
        try withPeering { peering, core in
            let victim = peering.addPeer(try Fixture.record(2, key: 9), &core, now: now)
            let thief = peering.addPeer(try Fixture.record(1, key: 9), &core, now: now)
            #expect(victim != nil && thief == nil)
            #expect(core.device.peer(for: Fixture.address(2)) == victim?.device)
            #expect(core.device.peer(for: Fixture.address(1)) == nil)
            // Nor by a later announcement of an agent that is a peer: that one stays what it was.
            _ = peering.addPeer(try Fixture.record(3), &core, now: now)
            #expect(peering.addPeer(try Fixture.record(3, sequence: 2, key: 9), &core, now: now) == nil)
            #expect(core.device.peer(for: Fixture.address(3)) != nil)
            #expect(core.device.peerIDs.count == 2)
        }
    }

    @Test func `a session is tied to both identities`() throws {
        let now = now
        try withPeering { peering, core in
            let peer = peering.addPeer(try Fixture.record(1), &core, now: now)
            let device = try #require(peer?.device)
            let binding = try PeerClaim.binding(try Fixture.identity(250).id, try Fixture.identity(1).id)
            #expect(core.device.exportPresharedKey(device) == binding.exportBytes())
        }
    }

    @Test func `a peer whose credential has expired is removed, and one that was renewed stays`() throws {
        let now = now
        try withPeering { peering, core in
            _ = peering.addPeer(try Fixture.record(1), &core, now: now)
            _ = peering.addPeer(try Fixture.record(2), &core, now: now)
            _ = peering.addPeer(
                try Fixture.record(2, sequence: 2, issued: Fixture.later(43200)), &core, now: now)
            peering.sweep(&core, now: now, wall: Fixture.later(86400 + 59))
            #expect(peering.peers.count == 2)
            peering.sweep(&core, now: now, wall: Fixture.later(86400 + 60))
            #expect(Set(peering.peers.keys) == [try Fixture.identity(2).id])
            #expect(core.device.peer(for: Fixture.address(1)) == nil)
            #expect(core.device.peer(for: Fixture.address(2)) != nil)
        }
    }

    @Test func `a lookup's answer that does not have the address any more ends the wait`() throws {
        let now = now
        try withPeering { peering, core in
            _ = peering.addPeer(try Fixture.record(1, address: 1, sequence: 2), &core, now: now)
            var packet = [UInt8](repeating: 0, count: 40)
            packet[0] = 0x60
            packet.replaceSubrange(8..<40, with: Fixture.address(250).bytes + Fixture.address(7).bytes)
            unsafe packet.withUnsafeBytes { unsafe peering.unroutable($0, &core, now: now) }
            let outdated = try Fixture.record(1, address: 7, sequence: 1)
            peering.resolved(Fixture.address(7), outdated, &core, now: now, wall: Fixture.now)
            #expect(peering.unresolved.take(Fixture.address(7)).isEmpty)
        }
    }

    @Test func `what is said in a peer's name does not hold its initiations up`() throws {
        let now = now
        try withPeering { peering, core in
            let id = try Fixture.identity(1).id
            _ = peering.addPeer(try Fixture.record(1), &core, now: now)
            let path = Path.relayed(relay: 0, id)
            peering.introduced([0xd0, 1, 2, 0, 65], by: id, on: path, &core, now: now)
            var initiation = [UInt8](repeating: 1, count: 148)
            let isAdmitted = unsafe initiation.withUnsafeMutableBytes {
                unsafe peering.admits(initiation: $0, from: id, on: path, &core, now: now)
            }
            #expect(isAdmitted)
            #expect(peering.peers[id] != nil)
            #expect(peering.counters.unverifiedIntroductions == 1)
        }
    }

    @Test func `random datagrams of every kind trap nothing and change nothing`() throws {
        let now = now
        try withPeering { peering, core in
            var random = SeededRandom(seed: 17)
            let source = Endpoint("192.0.2.9:9")!
            for _ in 0..<20_000 {
                var bytes = (0..<Int.random(in: 1...300, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                bytes[0] = [0, 1, 0xc0, 0xc3, 0xd0, 0xd1, 0xff].randomElement(using: &random) ?? 0
                if bytes.count > 1 { bytes[1] = 1 }
                let path: Path =
                    Bool.random(using: &random)
                    ? .direct(socket: 0, source) : .relayed(relay: 0, AgentID(high: random.next() % 300, low: 0))
                unsafe bytes.withUnsafeMutableBytes { unsafe peering.received($0, from: path, &core, now: now) }
            }
            #expect(peering.peers.isEmpty)
            #expect(peering.strangers.count <= Strangers.limit)
        }
    }
}
