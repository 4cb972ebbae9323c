import Addressing
import Lab
import Noise
import Sodium
import Testing
import Timing
import WireGuard

extension Interoperability {
    /// Datagrams that wireguard-go made with known keys, taken apart by our code, and ours that it accepts.
    @Suite struct WireFormat {
        private static let prologue = Array("WireGuard v1 zx2c4 Jason@zx2c4.com".utf8)

        /// wireguard-go as the other end of a socket of the test's, with our device behind it.
        private func withDevice(
            hasPresharedKey: Bool, isIPv6: Bool = false, _ body: (End, InProcessEnd, Keys) throws -> Void
        ) throws {
            try withCable { cable in
                let other = try End(.wireguardGo, at: cable.b, number: 2)
                // Stands for the device's side: its keys and inner addresses.
                let own = try End(.ours, at: cable.a, number: 1)
                let presharedKey = hasPresharedKey ? try Keys() : nil
                try other.start()
                try other.setUp(port: 1002)
                let socket = try DatagramSocket.bind(
                    in: cable.a.namespace, isIPv6 ? cable.a.ipv6 : cable.a.ipv4, port: 1001)
                try other.add(
                    own, endpoint: cable.a.endpoint(1001, isIPv6: isIPv6), presharedKey: presharedKey?.privateKey)
                let device = try InProcessEnd(
                    keys: own.keys, peer: other, at: cable.b.endpoint(1002, isIPv6: isIPv6),
                    presharedKey: presharedKey?.secretBytes, on: socket)
                try body(other, device, own.keys)
            }
        }

        /// Pings through the session, both families, small and large, and checks the kernel's replies byte for byte.
        private func exchangePackets(_ device: InProcessEnd, _ other: End) throws {
            for (source, destination) in [("10.9.0.1", other.ipv4), ("fd09:0::1", other.ipv6)] {
                for size in [0, 1, 15, 16, 17, 1000, 1372] {
                    let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
                    #expect(try device.send(try Echo.request(from: source, to: destination, payload: payload)))
                    try device.run("reply of \(size) bytes from \(destination)") { end in
                        end.packets.contains { Echo.isReply($0, payload: payload) }
                    }
                }
            }
        }

        @Test(arguments: [false, true])
        func `an initiation of wireguard-go is understood field by field and answered`(hasPresharedKey: Bool) throws {
            try withDevice(hasPresharedKey: hasPresharedKey) { other, device, keys in
                let before = WallTime.now()
                let ping = try other.home.startPing("10.9.0.1", interval: 0.2)
                defer { ping.stop() }
                try device.run("packets after a handshake") { !$0.packets.isEmpty }
                let initiation = try #require(device.received.first)
                try checkInitiation(initiation, from: other.keys, to: keys, between: before, and: .now())
                #expect(device.results.first == .handshake(device.peer, .initiation))
                // The response that it accepted carries the initiation's sender index.
                let response = try #require(device.sent.first)
                #expect(response.count == 92 && Array(response[8..<12]) == Array(initiation[4..<8]))
                #expect(MessageType(unsafe response.span.bytes) == .response)
                #expect(try other.peer().latestHandshake > 0)
                // Its transport data: our index, counters from 0, padded inner packets.
                let data = device.received.filter { $0[0] == 4 }
                for (index, message) in data.enumerated() {
                    let header = unsafe message.withUnsafeBytes { unsafe TransportHeader($0.baseAddress!) }
                    #expect(Array(message[4..<8]) == Array(response[4..<8]) && header.counter == UInt64(index))
                    var again = [UInt8](repeating: 0, count: 16)
                    unsafe again.withUnsafeMutableBytes { unsafe header.store(to: $0.baseAddress!) }
                    #expect(again == Array(message.prefix(16)))
                    #expect(message.count % 16 == 0)
                }
                let inner = try #require(device.packets.first)
                #expect(inner[0] == 0x45 && inner[9] == 1 && inner[20] == 8, "an ICMP echo request")
                #expect(Array(inner[12..<16]) == [10, 9, 0, 2] && Array(inner[16..<20]) == [10, 9, 0, 1])
                try exchangePackets(device, other)
                // The same initiation again is a replay, and a damaged one is none.
                #expect(device.open(initiation, from: device.remote) == .dropped(.replayedInitiation))
                for index in [0, 4, 8, 40, 88, 116, 131] {
                    var damaged = initiation
                    damaged[index] ^= 0x20
                    guard case .dropped = device.open(damaged, from: device.remote) else {
                        Issue.record("byte \(index) does not matter")
                        continue
                    }
                }
                try exchangePackets(device, other)
            }
        }

        private func checkInitiation(
            _ message: [UInt8], from sender: Keys, to receiver: Keys, between: WallTime, and end: WallTime
        ) throws {
            #expect(MessageType(unsafe message.span.bytes) == .initiation)
            #expect(message.count == 148 && Array(message[0..<4]) == [1, 0, 0, 0])
            let checker = CookieChecker(receiver.publicBytes)
            let hasMAC1 = checker.hasValidMAC1(unsafe message.span.bytes)
            #expect(hasMAC1)
            #expect(Array(message[132...]) == [UInt8](repeating: 0, count: 16), "no cookie yet, so no mac2")
            // The Noise part alone, without the device.
            let noise = Array(message[8..<116])
            let local = StaticKey(try SecretKey(copying: receiver.secretBytes))
            var responder = try HandshakeState.Responder(
                initiation: unsafe noise.span.bytes, local: local, prologue: unsafe Self.prologue.span.bytes)
            #expect(responder.remoteStatic == sender.publicBytes)
            let shared = try X25519.sharedSecret(local.secret, sender.publicBytes)
            let payload = try responder.readPayload(initiation: unsafe noise.span.bytes, staticStatic: shared)
            let stamp = try #require(TAI64N(payload))
            #expect(stamp.bytes == payload)
            let (earliest, latest) = (
                TAI64N(unixSeconds: between.seconds - 1, nanoseconds: 0),
                TAI64N(unixSeconds: end.seconds + 1, nanoseconds: 0)
            )
            #expect(stamp > earliest && stamp < latest)
            #expect(stamp.nanoseconds % TAI64N.granularity == 0)
            // mac1 made anew is the same: nothing else is in the message.
            var again = Array(message.prefix(116))
            var generator = CookieGenerator(receiver.publicBytes)
            generator.appendMACs(to: &again, now: .zero)
            #expect(again == message)
        }

        @Test(arguments: [false, true])
        func `our initiation is accepted, and the response understood field by field`(hasPresharedKey: Bool) throws {
            try withDevice(hasPresharedKey: hasPresharedKey, isIPv6: true) { other, device, keys in
                try device.startHandshake()
                try device.run("a session") { $0.results.contains(.handshake($0.peer, .response)) }
                let (initiation, response) = (try #require(device.sent.first), try #require(device.received.first))
                #expect(initiation.count == 148)
                #expect(response.count == 92 && MessageType(unsafe response.span.bytes) == .response)
                #expect(Array(response[0..<4]) == [2, 0, 0, 0])
                #expect(Array(response[8..<12]) == Array(initiation[4..<8]), "our sender index is its receiver index")
                let checker = CookieChecker(keys.publicBytes)
                let hasMAC1 = checker.hasValidMAC1(unsafe response.span.bytes)
                #expect(hasMAC1)
                #expect(Array(response[76...]) == [UInt8](repeating: 0, count: 16))
                // What we send next confirms the session, to the index it chose, with counter 0.
                let confirmation = try #require(device.sent.dropFirst().first)
                #expect(confirmation.prefix(16) == [4, 0, 0, 0] + response[4..<8] + [UInt8](repeating: 0, count: 8))
                try exchangePackets(device, other)
                #expect(try other.peer().latestHandshake > 0)
                // Twice the same response is once too often.
                #expect(device.open(response, from: device.remote) == .dropped(.unexpectedResponse))
                // Nor does a replayed packet come in.
                let data = try #require(device.received.last { $0[0] == 4 })
                #expect(device.open(data, from: device.remote) == .dropped(.replayedCounter))
            }
        }

        @Test func `both initiate at once, and packets flow`() throws {
            try withDevice(hasPresharedKey: true) { other, device, keys in
                let ping = try other.home.startPing("10.9.0.1", interval: 0.2)
                defer { ping.stop() }
                // Theirs is on the way when ours goes.
                try device.startHandshake()
                try device.run("packets") { $0.packets.count > 2 }
                try exchangePackets(device, other)
                let kinds = Set(device.results.compactMap { if case .handshake(_, let type) = $0 { type } else { nil } })
                #expect(!kinds.isEmpty)
            }
        }
    }
}
