import Addressing
import Glibc
import Lab
import TestSupport
import Testing

extension Interoperability {
    /// What nobody of the session has sent: it changes nothing that `wg show` shows.
    @Suite struct BadPackets {
        private static let attacker = "192.0.2.66"

        /// A session with wireguard-go, a capture of all its datagrams to us, and a socket that is not its.
        private func withCapturedSession(
            _ body: (_ ours: End, _ other: End, [WireDatagram], _ send: ([UInt8]) throws -> Void) throws -> Void
        ) throws {
            try withPair { cable, ours, other in
                try ours.setUp(port: 1001)
                try other.setUp(port: 1002)
                try ours.add(other)
                try other.add(ours, endpoint: cable.a.endpoint(1001))
                let capture = try Capture(
                    in: cable.a.namespace, link: Cable.link, filter: ["udp", "dst", "port", "1001"])
                try other.reach(ours)
                #expect(try other.lost(to: ours.ipv6, count: 50) == [])
                // What the last ping asked for is answered, and tcpdump has seen it.
                usleep(200_000)
                let datagrams = try capture.datagrams()
                #expect(datagrams.count { $0.type == 1 } == 1 && datagrams.count { $0.type == 4 } > 20)
                try cable.addAddress(Self.attacker, to: cable.b)
                let socket = try DatagramSocket.bind(in: cable.b.namespace, Self.attacker)
                let target = try #require(Endpoint(cable.a.endpoint(1001)))
                let before = (processes: ours.processes, status: try ours.status())
                try body(ours, other, datagrams) { try socket.send($0, to: target) }
                // Behind everything that was sent, and before any timer is due: 10 s after the last packet.
                usleep(200_000)
                #expect(try ours.status() == before.status)
                #expect(ours.processes == before.processes)
                #expect(try other.lost(to: ours.ipv4) == [])
                #expect(try ours.peer().endpoint == cable.b.endpoint(1002))
                #expect(try ours.peer().latestHandshake == before.status.peers.first?.latestHandshake)
            }
        }

        @Test func `garbage of every length changes nothing`() throws {
            try withCapturedSession { ours, other, datagrams, send in
                var random = SeededRandom(seed: 7)
                var count = 0
                for length in Array(0...200) + [1000, 1420, 1472, 9000, 30000, 65507] {
                    for type in [UInt8](0...5) + [0x80, 0xc0, 0xff] {
                        var bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                        if length > 0 { bytes[0] = type }
                        for index in 1..<4 where index < length { bytes[index] = 0 }
                        try send(bytes)
                        count += 1
                    }
                }
                figure("garbage", "\(count) datagrams")
            }
        }

        @Test func `replayed initiations and packets change nothing, from wherever`() throws {
            try withCapturedSession { ours, other, datagrams, send in
                for _ in 0..<3 { for datagram in datagrams { try send(datagram.payload) } }
                figure("replays", "\(datagrams.count * 3) datagrams")
            }
        }

        @Test func `flipped bits, cut and lengthened messages change nothing`() throws {
            try withCapturedSession { ours, other, datagrams, send in
                let initiation = try #require(datagrams.first { $0.type == 1 }).payload
                let data = try #require(datagrams.last { $0.type == 4 }).payload
                var count = 0
                for message in [initiation, data] {
                    for bit in 0..<message.count * 8 {
                        var damaged = message
                        damaged[bit / 8] ^= 1 << (bit % 8)
                        try send(damaged)
                        count += 1
                    }
                    for length in 0..<message.count {
                        try send(Array(message.prefix(length)))
                        count += 1
                    }
                    for extra in [1, 2, 16, 1000, 60000] {
                        try send(message + [UInt8](repeating: 0, count: extra))
                        count += 1
                    }
                }
                // A session's index with a counter that was not used yet.
                for counter in 0..<200 {
                    var forged = data
                    forged[8] = 0xff
                    forged[9] = UInt8(counter)
                    try send(forged)
                    count += 1
                }
                figure("damaged messages", "\(count) datagrams")
            }
        }

        @Test func `responses and cookie replies that nobody asked for change nothing`() throws {
            try withCapturedSession { ours, other, datagrams, send in
                let initiation = try #require(datagrams.first { $0.type == 1 }).payload
                let data = try #require(datagrams.last { $0.type == 4 }).payload
                var random = SeededRandom(seed: 8)
                for _ in 0..<500 {
                    // With the session's index, so that they find a peer.
                    for (type, length) in [(UInt8(2), 92), (3, 64)] {
                        var bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                        bytes.replaceSubrange(0..<4, with: [type, 0, 0, 0])
                        bytes.replaceSubrange(4..<8, with: data[4..<8])
                        if type == 2 { bytes.replaceSubrange(8..<12, with: data[4..<8]) }
                        try send(bytes)
                    }
                }
                #expect(initiation.count == 148)
            }
        }
    }
}
