import Lab
import Testing

extension Interoperability {
    /// Every way to begin a session with the other implementation.
    @Suite struct Matrix {
        struct Case: CustomTestStringConvertible {
            let weInitiate: Bool
            let hasPresharedKey: Bool
            let isIPv6: Bool

            var testDescription: String {
                "\(weInitiate ? "initiator" : "responder"), \(hasPresharedKey ? "with" : "no") preshared key, "
                    + (isIPv6 ? "IPv6" : "IPv4")
            }

            static let all = [true, false].flatMap { weInitiate in
                [false, true].flatMap { hasPresharedKey in
                    [false, true].map { Case(weInitiate: weInitiate, hasPresharedKey: hasPresharedKey, isIPv6: $0) }
                }
            }
        }

        static let size = 20 << 20

        /// How many datagrams were dropped for a full socket buffer in an end's namespace.
        private static func overflows(at end: End) throws -> Int {
            let lines = try end.side.namespace.run("cat", "/proc/net/snmp", "/proc/net/snmp6").split(separator: "\n")
            let ipv4 = lines.filter { $0.hasPrefix("Udp: ") }.map { $0.split(separator: " ") }
            let ipv6 = lines.first { $0.hasPrefix("Udp6RcvbufErrors") }?.split(whereSeparator: { " \t".contains($0) })
            guard ipv4.count == 2, let column = ipv4[0].firstIndex(of: "RcvbufErrors"), let count = Int(ipv4[1][column])
            else { throw LabError.unexpected("/proc/net/snmp") }
            return count + (ipv6?.last.flatMap { Int($0) } ?? 0)
        }

        @Test(arguments: Case.all) func `a session carries both families, and wg shows the same at both ends`(
            _ which: Case
        ) throws {
            try withPair { cable, ours, other in
                let (initiator, responder) = which.weInitiate ? (ours, other) : (other, ours)
                let presharedKey = which.hasPresharedKey ? try Keys().privateKey : nil
                try initiator.setUp(port: 1001)
                try responder.setUp(port: 1002)
                // The responder does not know where the initiator is: it cannot begin.
                try responder.add(initiator, presharedKey: presharedKey)
                try initiator.add(
                    responder, endpoint: responder.side.endpoint(1002, isIPv6: which.isIPv6),
                    presharedKey: presharedKey, keepalive: 25)
                let before = Int(Clock.wall)
                try initiator.reach(responder)
                for (from, address) in [
                    (ours, other.ipv4), (ours, other.ipv6), (other, ours.ipv4), (other, ours.ipv6),
                ] {
                    #expect(try from.lost(to: address) == [], "\(from.implementation) to \(address)")
                }
                let down = try Traffic.http(
                    from: ours.home, to: other.home, host: other.ipv4, listen: other.ipv4, bytes: Self.size)
                let up = try Traffic.http(
                    from: other.home, to: ours.home, host: "[\(ours.ipv6)]", listen: ours.ipv6, bytes: Self.size)
                figure("\(which.testDescription), 20 MiB to us and from us", "\(down.seconds) s, \(up.seconds) s")

                let (a, b) = (try initiator.peer(), try responder.peer())
                #expect(a.endpoint == responder.side.endpoint(1002, isIPv6: which.isIPv6))
                #expect(b.endpoint == initiator.side.endpoint(1001, isIPv6: which.isIPv6))
                #expect(a.keepalive == "25" && b.keepalive == "off")
                #expect(a.presharedKey == presharedKey ?? "(none)" && b.presharedKey == a.presharedKey)
                for peer in [a, b] {
                    #expect((before...Int(Clock.wall)).contains(peer.latestHandshake))
                    #expect(peer.received > Self.size && peer.sent > Self.size)
                }
                // Both count whole datagrams. The cable loses none; a receiver whose socket buffer is full does.
                for (sent, received, receiver) in [(a.sent, b.received, responder), (b.sent, a.received, initiator)] {
                    #expect(received <= sent)
                    let overflows = try Self.overflows(at: receiver)
                    #expect(received > sent - sent / 50 || overflows > 0, "\(received) of \(sent) bytes")
                    if received < sent - sent / 50 {
                        let lost = "\(sent - received) of \(sent) bytes"
                        figure("\(receiver.implementation)'s full socket buffer", "\(overflows) datagrams, \(lost)")
                    }
                }
            }
        }

        @Test func `different preshared keys make no session, and the right one does`() throws {
            try withPair { cable, ours, other in
                try ours.setUp(port: 1001)
                try other.setUp(port: 1002)
                let (right, wrong) = (try Keys().privateKey, try Keys().privateKey)
                try other.add(ours, presharedKey: right)
                try ours.add(other, endpoint: other.side.endpoint(1002), presharedKey: wrong)
                let report = try ours.home.result(of: ["ping", "-n", "-c", "2", "-W", "1", other.ipv4])
                #expect(!report.succeeded)
                #expect(try ours.peer().latestHandshake == 0)
                try ours.set("peer", other.keys.publicKey, "preshared-key", try ours.file("psk", right))
                try ours.reach(other)
                #expect(try ours.peer().latestHandshake > 0)
            }
        }
    }
}
