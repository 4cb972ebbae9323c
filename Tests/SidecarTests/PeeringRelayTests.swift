import Addressing
import Control
import Directory
import Glibc
import Linux
import Membership
import Relay
import STUN
import Sodium
import Testing
import Timing
import Transport
import Traversal

@testable import Sidecar
@testable import Tunnel

/// At which relays a sidecar is, which it announces, and through which it reaches a peer. As root.
@Suite(.timeLimit(.minutes(1)))
struct PeeringRelayTests {
    init() throws {
        try #require(geteuid() == 0, "not root: these tests make a namespace and a TUN in it; run sudo make test")
    }

    /// A relay on loopback that admits everybody, and whose clock is the test's.
    private final class TestRelay {
        let id: AgentID
        let endpoint: Endpoint
        private let socket: UDPSocket
        private var server: RelayServer
        var isAlive = true

        init(_ number: Int, now: MonotonicTime) throws {
            id = PeeringRelayTests.id(number)
            endpoint = PeeringRelayTests.endpoint(number)
            socket = try UDPSocket(.ipv4, address: endpoint.address, port: endpoint.port)
            var random = SecureRandom()
            let key = try Fixture.identity(250).publicKey
            server = try RelayServer(relay: id, now: now, using: &random) { _, _ in
                VerifiedCredential(identityKey: key, expiry: Fixture.later(3600))
            }
        }

        /// Answers what has come, and hands the answers to the peering; how many there were.
        func turn(_ peering: inout Peering, _ core: inout TunnelCore, now: MonotonicTime) -> Int {
            var answers = 0
            var buffer = [UInt8](repeating: 0, count: 2048)
            while let (length, source) = unsafe buffer.withUnsafeMutableBytes({ unsafe socket.receive(into: $0) }) {
                guard isAlive else { continue }
                var datagram = Array(buffer[..<length])
                let action = unsafe datagram.withUnsafeMutableBytes {
                    unsafe server.receive($0, from: RelayLink(source), now: now, wall: Fixture.now)
                }
                guard case .reply(var reply) = action else { continue }
                answers += 1
                unsafe reply.withUnsafeMutableBytes {
                    unsafe peering.received($0, from: .direct(socket: 0, endpoint), &core, now: now)
                }
            }
            return answers
        }
    }

    private static func id(_ number: Int) -> AgentID { AgentID(high: 7, low: UInt64(number)) }
    private static func endpoint(_ number: Int) -> Endpoint { Endpoint("127.0.0.\(number + 1):3478")! }
    private static let places = (0..<2).map { MeshInfo.Relay(id: id($0), endpoints: [endpoint($0)]) }

    /// A peering with two relays, of which those of `alive` answer, and a peer that is at both.
    private func withRelays(
        alive: Set<Int>,
        _ body: @escaping @Sendable (inout Peering, inout TunnelCore, inout Time) throws -> Void
    ) throws {
        let start = MonotonicTime.zero + .seconds(1000)
        try Fixture.withPeering(relays: Self.places, now: start) { peering, core in
            try run("ip link set lo up")
            var time = Time(now: start, relays: try (0..<2).map { try TestRelay($0, now: start) })
            for index in 0..<2 { time.relays[index].isAlive = alive.contains(index) }
            let homes = Self.places.map { Announcement.HomeRelay(id: $0.id, endpoint: $0.endpoints[0]) }
            _ = peering.addPeer(try Fixture.record(1, relays: homes), &core, now: start)
            try body(&peering, &core, &time)
        }
    }

    private struct Time {
        var now: MonotonicTime
        let relays: [TestRelay]

        /// Lets time pass, 5 ms at a time; `isSending` has the peer sent something each time.
        mutating func pass(
            _ span: Interval, _ peering: inout Peering, _ core: inout TunnelCore, isSending: Bool = false
        ) throws {
            let end = now + span
            let peer = try #require(peering.peers[try Fixture.identity(1).id])
            repeat {
                if isSending { peering.sent(peer.device, now: now) }
                peering.tick(&core, now: now)
                core.flush()
                while relays.reduce(0, { $0 + $1.turn(&peering, &core, now: now) }) > 0 {
                    peering.tick(&core, now: now)
                    core.flush()
                }
                now = now + .milliseconds(5)
            } while now < end
        }
    }

    /// The relay that the peer is reached through.
    private static func relay(_ peering: borrowing Peering) throws -> UInt8? {
        guard case .relayed(let relay, _)? = peering.engine.status(of: try Fixture.identity(1).id)?.path else {
            return nil
        }
        return relay
    }

    @Test func `both relays are registered at and announced, and the first one is talked through`() throws {
        try withRelays(alive: [0, 1]) { peering, core, time in
            #expect(peering.announced == [0, 1])
            try time.pass(.milliseconds(100), &peering, &core)
            #expect(peering.homes.homes == [0, 1])
            #expect(core.relays.map { $0?.endpoint } == [Self.endpoint(0), Self.endpoint(1)])
            #expect(core.relays.allSatisfy { $0?.isStream == false })
            let relay0 = try Self.relay(peering)
            #expect(relay0 == 0)
            #expect(peering.relayReports.map(\.role) == ["home", "warm"])
            #expect(peering.relayReports.allSatisfy { $0.state == "up" && $0.transport == "udp" })
            try time.pass(.seconds(3), &peering, &core)
            #expect(peering.announced == [0, 1] && peering.nextAnnouncement == .never)
        }
    }

    @Test func `where only the second answers, it is announced and talked through`() throws {
        try withRelays(alive: [1]) { peering, core, time in
            let relay0 = try Self.relay(peering)
            #expect(relay0 == 0)
            try time.pass(.milliseconds(400), &peering, &core)
            #expect(peering.homes.homes == [1])
            #expect(peering.announced == [1])
            let relay1 = try Self.relay(peering)
            #expect(relay1 == 1)
        }
    }

    @Test func `a second relay that does not come is not announced any more after a while`() throws {
        try withRelays(alive: [0]) { peering, core, time in
            try time.pass(.milliseconds(500), &peering, &core)
            #expect(peering.homes.homes == [0])
            #expect(peering.announced == [0, 1])
            try time.pass(.seconds(2), &peering, &core)
            #expect(peering.announced == [0])
        }
    }

    @Test func `a relay that falls silent while data is sent is left for the warm one within half a second`() throws {
        try withRelays(alive: [0, 1]) { peering, core, time in
            try time.pass(.milliseconds(500), &peering, &core, isSending: true)
            let relay0 = try Self.relay(peering)
            #expect(relay0 == 0)
            time.relays[0].isAlive = false
            let killed = time.now
            while try Self.relay(peering) == 0, time.now.since(killed) < .seconds(5) {
                try time.pass(.milliseconds(5), &peering, &core, isSending: true)
            }
            let relay1 = try Self.relay(peering)
            #expect(relay1 == 1)
            #expect(time.now.since(killed) <= .milliseconds(500), "\(time.now.since(killed).milliseconds) ms")
            try time.pass(.milliseconds(100), &peering, &core, isSending: true)
            #expect(peering.announced.first == 1)
            // While none is left, the last ones stay announced: they are where we will be again.
            time.relays[1].isAlive = false
            try time.pass(.seconds(60), &peering, &core, isSending: true)
            #expect(peering.homes.homes.isEmpty)
            #expect(!peering.announced.isEmpty)
        }
    }

    @Test func `another network of the host begins anew at the relays, and one more address does not`() throws {
        try withRelays(alive: [0, 1]) { peering, core, time in
            let (first, second) = (IPAddress("10.0.0.1")!, IPAddress("10.0.0.2")!)
            peering.setHostAddresses([first], &core, now: time.now)
            try time.pass(.milliseconds(100), &peering, &core)
            peering.setHostAddresses([first, second], &core, now: time.now)
            #expect(peering.homes.homes == [0, 1])
            peering.setHostAddresses([second], &core, now: time.now)
            #expect(peering.homes.homes.isEmpty)
            try time.pass(.milliseconds(100), &peering, &core)
            #expect(peering.homes.homes == [0, 1])
        }
    }

    private func run(_ command: String) throws {
        let status = unsafe system(command)
        try #require(status == 0, "\(command)")
    }
}
