import Addressing
import Lab
import Testing

extension Interoperability {
    /// Under load a responder asks for proof of the address first; sessions come all the same.
    @Suite struct Cookies {
        private static let attacker = "192.0.2.66"

        /// Makes a session from `initiator` to `responder` while forged initiations keep the responder under load, and
        /// checks the messages on the wire: initiation, cookie reply, initiation with mac2, response.
        private func establish(_ cable: Cable, _ initiator: End, _ responder: End, burst: Int, pause: Double) throws {
            try initiator.setUp(port: 1001)
            try responder.setUp(port: 1002)
            try responder.add(initiator)
            try initiator.add(responder, endpoint: responder.side.endpoint(1002))
            try cable.addAddress(Self.attacker, to: initiator.side)
            let socket = try DatagramSocket.bind(in: initiator.side.namespace, Self.attacker)
            let target = try #require(Endpoint(responder.side.endpoint(1002)))
            let capture = try Capture(in: cable.a.namespace, link: Cable.link, filter: ["udp", "port", "1001"])
            let flooded = try Capture(
                in: cable.a.namespace, link: Cable.link, filter: ["udp", "dst", "port", "\(socket.port)"])
            let flood = try Flood(
                from: socket, on: target, publicKey: responder.keys.publicBytes, burst: burst, pause: pause)
            let load = try waitUntil("load", timeout: 5) { socket.receive(timeout: 0.1).map { $0.bytes } }
            #expect(load.value.count == 64 && load.value.first == 3)
            let start = Clock.now
            try initiator.reach(responder, timeout: 25)
            let seconds = Clock.now - start
            let sent = flood.stop()

            let datagrams = try capture.datagrams()
            let source = try #require(Endpoint(initiator.side.endpoint(1001)))
            let handshake = datagrams.filter { $0.type <= 3 }
            #expect(handshake.first?.type == 1 && handshake.first?.hasMAC2 == false)
            let cookie = try #require(handshake.firstIndex { $0.type == 3 })
            #expect(handshake[cookie].payload.count == 64 && handshake[cookie].destination == source)
            // The reply names the initiation by its sender index.
            let asked = handshake[..<cookie].filter { $0.type == 1 }
            #expect(asked.contains { $0.payload[4..<8] == handshake[cookie].payload[4..<8] })
            let next = try #require(handshake[cookie...].first { $0.type == 1 })
            #expect(next.source == source && next.hasMAC2)
            let response = try #require(handshake.first { $0.type == 2 })
            #expect(response.destination == source && response.payload[8..<12] == next.payload[4..<8])
            #expect(handshake.prefix { $0.type != 2 }.allSatisfy { $0.type == 1 || $0.type == 3 })
            #expect(try responder.peer().endpoint == initiator.side.endpoint(1001))

            // Nothing but cookie replies for the flood, and nothing larger than what was asked.
            let replies = try flooded.datagrams()
            #expect(replies.count > 100 && replies.allSatisfy { $0.type == 3 && $0.payload.count == 64 })
            figure(
                "\(responder.implementation) under load",
                "\(sent) forged initiations, \(replies.count) cookie replies, session after \(seconds) s")
        }

        @Test func `wireguard-go gets a session with us under load, by a cookie`() throws {
            try withPair { cable, ours, other in
                try establish(cable, other, ours, burst: 200, pause: 0.1)
            }
        }

        @Test func `we get a session with wireguard-go under load, by a cookie`() throws {
            try withCable { cable in
                let ours = try End(.ours, at: cable.a, number: 1)
                let other = try End(.wireguardGo, at: cable.b, number: 2)
                try ours.start()
                // It counts itself under load when 128 handshakes wait: with one thread they do.
                try other.start(environment: ["GOMAXPROCS": "1"])
                try establish(cable, ours, other, burst: 400, pause: 0.1)
            }
        }

        @Test func `we are not under load by what was made for another key`() throws {
            try withPair { cable, ours, other in
                try ours.setUp(port: 1001)
                try other.setUp(port: 1002)
                try ours.add(other)
                try other.add(ours, endpoint: cable.a.endpoint(1001))
                try cable.addAddress(Self.attacker, to: cable.b)
                let socket = try DatagramSocket.bind(in: cable.b.namespace, Self.attacker)
                let target = try #require(Endpoint(cable.a.endpoint(1001)))
                let flood = try Flood(
                    from: socket, on: target, publicKey: other.keys.publicBytes, burst: 400, pause: 0.05)
                #expect(socket.receive(timeout: 0.5) == nil)
                try other.reach(ours, timeout: 4)
                flood.stop()
                #expect(socket.receive(timeout: 0.1) == nil)
            }
        }
    }
}
