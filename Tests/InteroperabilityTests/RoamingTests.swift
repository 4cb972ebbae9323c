import Lab
import Testing

extension Interoperability {
    /// A peer is where its last authenticated packet came from.
    @Suite struct Roaming {
        /// Runs `move` while both ends ping each other, and waits for replies to what was sent after it.
        private func whileTalking(
            _ ours: End, _ other: End, _ what: String, _ move: () throws -> Void
        ) throws {
            let pings = [
                try ours.home.startPing(other.ipv4, interval: 0.05), try other.home.startPing(ours.ipv4, interval: 0.05),
            ]
            defer { for ping in pings { ping.stop() } }
            try waitUntil("traffic before \(what)", timeout: 10) {
                pings.allSatisfy { PingReport.arrivals(in: $0.standardOutput).count > 5 }
            }
            try move()
            let moved = Clock.wall
            let gap = try waitUntil("traffic after \(what)", timeout: 5, every: 0.02) {
                pings.allSatisfy { ping in
                    PingReport.arrivals(in: ping.standardOutput).count { $0 > moved + 0.1 } > 5
                }
            }
            figure(what, "10 packets each way within \(Int(gap * 1000)) ms")
        }

        private func withSession(_ body: (Cable, End, End) throws -> Void) throws {
            try withPair { cable, ours, other in
                try ours.setUp(port: 1001)
                try other.setUp(port: 1002)
                try ours.add(other, endpoint: cable.b.endpoint(1002))
                try other.add(ours, endpoint: cable.a.endpoint(1001))
                try ours.reach(other)
                let handshake = try ours.peer().latestHandshake
                try body(cable, ours, other)
                #expect(try ours.peer().latestHandshake == handshake, "roaming needs no handshake")
            }
        }

        @Test func `our port changes, then the other's`() throws {
            try withSession { cable, ours, other in
                try whileTalking(ours, other, "our port changed") { try ours.set("listen-port", "2001") }
                #expect(try other.peer().endpoint == cable.a.endpoint(2001))
                #expect(try ours.status().listenPort == 2001)
                try whileTalking(ours, other, "the other's port changed") { try other.set("listen-port", "2002") }
                #expect(try ours.peer().endpoint == cable.b.endpoint(2002))
            }
        }

        @Test func `our address changes, then the other's`() throws {
            try withSession { cable, ours, other in
                for (moving, staying) in [(ours, other), (other, ours)] {
                    let port = try moving.status().listenPort
                    let address = moving === ours ? "192.0.2.11" : "192.0.2.12"
                    try whileTalking(ours, other, "address of \(moving.implementation) changed") {
                        try cable.addAddress(address, to: moving.side)
                        try cable.removeAddress(moving.side.ipv4, from: moving.side)
                        // The first address went, and the second with it where it was the secondary.
                        _ = try? cable.addAddress(address, to: moving.side)
                    }
                    #expect(try staying.peer().endpoint == "\(address):\(port)")
                }
            }
        }

        @Test func `a session moves from IPv4 to IPv6 and back, at either end's wish`() throws {
            try withSession { cable, ours, other in
                try whileTalking(ours, other, "we moved to IPv6") {
                    try ours.set("peer", other.keys.publicKey, "endpoint", cable.b.endpoint(1002, isIPv6: true))
                }
                #expect(try other.peer().endpoint == cable.a.endpoint(1001, isIPv6: true))
                #expect(try ours.peer().endpoint == cable.b.endpoint(1002, isIPv6: true))
                try whileTalking(ours, other, "the other moved to IPv4") {
                    try other.set("peer", ours.keys.publicKey, "endpoint", cable.a.endpoint(1001))
                }
                #expect(try other.peer().endpoint == cable.a.endpoint(1001))
                #expect(try ours.peer().endpoint == cable.b.endpoint(1002))
            }
        }
    }
}
