import Lab
import Sodium
import Testing

extension Interoperability {
    /// Every verb of the stock `wg` tool that changes something.
    @Suite struct Configuration {
        /// Our end with a session, and the other.
        private func withSession(_ body: (Cable, End, End) throws -> Void) throws {
            try withPair { cable, ours, other in
                try ours.setUp(port: 1001)
                try other.setUp(port: 1002)
                try other.add(ours)
                try ours.add(other, endpoint: cable.b.endpoint(1002))
                try ours.reach(other)
                try body(cable, ours, other)
            }
        }

        private func isLost(_ from: End, _ to: End) throws -> Bool {
            try !from.home.result(of: ["ping", "-n", "-c", "1", "-W", "1", to.ipv4]).succeeded
        }

        @Test func `what wg sets, wg shows, at both implementations alike`() throws {
            try withPair { cable, ours, other in
                let presharedKey = try Keys().privateKey
                let strangers = [try Keys(), try Keys()]
                for end in [ours, other] {
                    try end.setUp(port: 1001)
                    try end.set("fwmark", "0x1234")
                    try end.set(
                        "peer", strangers[0].publicKey, "preshared-key", try end.file("psk", presharedKey), "endpoint",
                        "[2001:db8::77]:7", "persistent-keepalive", "65535", "allowed-ips",
                        "10.20.0.1/16,fd20::1/64,0.0.0.0/0,::/0,10.20.30.40")
                    try end.set("peer", strangers[1].publicKey, "allowed-ips", "10.20.30.41/32")
                    let status = try end.status()
                    #expect(status.privateKey == end.keys.privateKey && status.publicKey == end.keys.publicKey)
                    #expect(status.listenPort == 1001 && status.firewallMark == "0x1234")
                    let peer = try #require(status.peers.first { $0.publicKey == strangers[0].publicKey })
                    #expect(peer.presharedKey == presharedKey && peer.endpoint == "[2001:db8::77]:7")
                    #expect(peer.keepalive == "65535" && peer.latestHandshake == 0 && peer.received == 0)
                    #expect(peer.allowedIPs == ["0.0.0.0/0", "10.20.0.0/16", "10.20.30.40/32", "::/0", "fd20::/64"])
                    // A prefix has one owner: the last who asked.
                    try end.set("peer", strangers[1].publicKey, "allowed-ips", "10.20.0.0/16")
                    let moved = try end.status().peers
                    #expect(moved.first { $0.publicKey == strangers[0].publicKey }?.allowedIPs.count == 4)
                    #expect(moved.first { $0.publicKey == strangers[1].publicKey }?.allowedIPs == ["10.20.0.0/16"])
                    try end.set("peer", strangers[0].publicKey, "remove")
                    try end.set("peer", strangers[0].publicKey, "remove")
                    #expect(try end.status().peers.map(\.publicKey) == [strangers[1].publicKey])
                    try end.set(
                        "fwmark", "off", "peer", strangers[1].publicKey, "persistent-keepalive", "off", "allowed-ips",
                        "")
                    #expect(try end.status().firewallMark == "off")
                    #expect(try end.peer().allowedIPs == ["(none)"])
                    // The own key as a peer is ignored.
                    try end.set("peer", end.keys.publicKey, "allowed-ips", "10.30.0.0/16")
                    #expect(try end.status().peers.count == 1)
                }
            }
        }

        @Test func `setconf, syncconf and addconf take what showconf gives`() throws {
            try withSession { cable, ours, other in
                let handshake = try ours.peer().latestHandshake
                let text = try ours.home.run("wg", "showconf", ours.interface)
                #expect(text.contains("ListenPort = 1001") && text.contains(other.keys.publicKey))
                let file = try ours.file("conf", text)
                try ours.home.run("wg", "syncconf", ours.interface, file)
                #expect(try ours.peer().latestHandshake == handshake, "syncconf keeps the session")
                #expect(try !isLost(ours, other))
                #expect(try ours.peer().latestHandshake == handshake, "and packets need no other")
                let stranger = try Keys()
                let addition = try ours.file(
                    "add", "[Peer]\nPublicKey = \(stranger.publicKey)\nAllowedIPs = 10.77.0.0/16\n")
                try ours.home.run("wg", "addconf", ours.interface, addition)
                #expect(try ours.status().peers.count == 2)
                try ours.home.run("wg", "syncconf", ours.interface, file)
                #expect(try ours.status().peers.map(\.publicKey) == [other.keys.publicKey])
                #expect(try ours.peer().latestHandshake == handshake)
                // A second later: the other end admits no initiation that is not newer than the last.
                try ours.home.run("wg", "setconf", ours.interface, file)
                #expect(try ours.peer().latestHandshake == 0, "setconf starts anew")
                try ours.reach(other)
                let again = try ours.home.run("wg", "showconf", ours.interface)
                #expect(again.split(separator: "\n").sorted() == text.split(separator: "\n").sorted())
            }
        }

        @Test func `a removed peer and replaced allowed IPs are in force at once`() throws {
            try withSession { cable, ours, other in
                try ours.set("peer", other.keys.publicKey, "allowed-ips", "\(other.ipv6)/128")
                #expect(try isLost(ours, other) && isLost(other, ours))
                #expect(try ours.lost(to: other.ipv6) == [])
                try ours.set("peer", other.keys.publicKey, "allowed-ips", "\(other.ipv4)/32,\(other.ipv6)/128")
                #expect(try !isLost(ours, other))
                try ours.set("peer", other.keys.publicKey, "remove")
                #expect(try isLost(ours, other) && isLost(other, ours))
                #expect(try ours.status().peers.isEmpty)
            }
        }

        @Test func `a preshared key that is set and removed again counts from the next handshake`() throws {
            try withSession { cable, ours, other in
                for presharedKey in [try Keys().privateKey, nil] {
                    for (end, peer) in [(ours, other), (other, ours)] {
                        let file = try presharedKey.map { try end.file("psk", $0) } ?? "/dev/null"
                        try end.set("peer", peer.keys.publicKey, "preshared-key", file)
                        #expect(try end.peer().presharedKey == presharedKey ?? "(none)")
                    }
                    #expect(try !isLost(ours, other), "the session goes on")
                    let handshake = try other.peer().latestHandshake
                    // Another private key is the way to ask for a handshake; the peer is told.
                    try renew(ours, other, endpoint: cable.b.endpoint(1002))
                    try ours.reach(other)
                    #expect(try other.peer().latestHandshake >= handshake)
                }
            }
        }

        /// Takes the peer out and in again at our end, so that the next packet needs a handshake.
        private func renew(_ ours: End, _ other: End, endpoint: String) throws {
            let presharedKey = try ours.peer().presharedKey
            try ours.set("peer", other.keys.publicKey, "remove")
            try ours.add(other, endpoint: endpoint, presharedKey: presharedKey == "(none)" ? nil : presharedKey)
        }

        @Test func `another private key is another device`() throws {
            try withSession { cable, ours, other in
                let keys = try Keys()
                try ours.set("private-key", try ours.file("key", keys.privateKey))
                #expect(try ours.status().publicKey == keys.publicKey)
                #expect(try isLost(ours, other), "the other does not know the new key")
                try other.set(
                    "peer", ours.keys.publicKey, "remove", "peer", keys.publicKey, "allowed-ips",
                    "\(ours.ipv4)/32,\(ours.ipv6)/128")
                try ours.reach(other)
                try ours.set("private-key", "/dev/null")
                #expect(try ours.status().publicKey == "(none)")
                #expect(try isLost(ours, other))
            }
        }

        @Test func `a private key that is not clamped is shown clamped, at both implementations alike`() throws {
            try withPair { cable, ours, other in
                let key = try #require(Bytes32([UInt8](repeating: 0xff, count: 32))).base64
                for end in [ours, other] {
                    try end.set("private-key", try end.file("key", key))
                    let shown = try end.status()
                    #expect(shown.privateKey == "+P///////////////////////////////////////38=")
                    let computed = try end.home.run("wg", "pubkey", input: key)
                    #expect(shown.publicKey + "\n" == computed)
                }
            }
        }

        @Test func `a listen port that is taken is refused in wg's words, and the old one stays`() throws {
            try withSession { cable, ours, other in
                for (end, peer) in [(ours, other), (other, ours)] {
                    let holder = try DatagramSocket.bind(in: end.home, end.side.ipv4, port: 1007)
                    let output = try end.home.result(of: ["wg", "set", end.interface, "listen-port", "1007"])
                    #expect(!output.succeeded)
                    #expect(output.standardError.contains("Address already in use"), "\(output.standardError)")
                    _ = holder.port
                    if end === ours {
                        #expect(try end.status().listenPort == 1001)
                        #expect(try !isLost(end, peer))
                    }
                }
            }
        }

        @Test func `packets carry the firewall mark`() throws {
            try withSession { cable, ours, other in
                let rules = """
                    table inet marks {
                      counter marked { }
                      chain out { type filter hook output priority 0; udp sport 1001 meta mark 0x77 counter name marked; }
                    }
                    """
                try cable.a.namespace.load(rules: rules)
                func marked() throws -> Bool {
                    try !cable.a.namespace.run("nft", "list", "counter", "inet", "marks", "marked")
                        .contains("packets 0 ")
                }
                #expect(try !isLost(ours, other))
                #expect(try !marked())
                try ours.set("fwmark", "0x77")
                #expect(try !isLost(ours, other))
                #expect(try marked())
            }
        }

        @Test func `persistent keepalives go out by themselves`() throws {
            try withSession { cable, ours, other in
                try ours.set("peer", other.keys.publicKey, "persistent-keepalive", "1")
                let before = try other.peer().received
                try waitUntil("three keepalives", timeout: 6, every: 0.1) {
                    try other.peer().received >= before + 3 * 32
                }
                try ours.set("peer", other.keys.publicKey, "persistent-keepalive", "off")
                #expect(try ours.peer().keepalive == "off")
            }
        }
    }
}
