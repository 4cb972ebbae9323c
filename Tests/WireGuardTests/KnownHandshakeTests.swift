import Addressing
import Sodium
import Testing
import Timing
import WireGuard

/// A whole session with all keys given, as an independent implementation of the paper in Python (hashlib and
/// cryptography) computes it: every byte on the wire.
@Suite struct KnownHandshakeTests {
    /// Gives out the words of a script.
    private struct ScriptedRandom: RandomNumberGenerator, Sendable {
        var words: [UInt64]
        mutating func next() -> UInt64 { words.isEmpty ? 0 : words.removeFirst() }
    }

    private static let initiatorPublic = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
    private static let responderPublic = "7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14"
    private static let initiation =
        "01000000" + "04030201"  // type, sender
        + "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"  // ephemeral
        + "3d95fc552c29d1bed66597b8ccddb5766350b66aad8baf1f3be1ddc6d207869c1b35fcf9165dca7274c2fc8309478ea5"  // static
        + "a698d106dde47e0338181bc1486b077afa4183ce1d0ef8073470ac21"  // timestamp
        + "636ea7ef197819d9d30fa4359dec3f23" + "00000000000000000000000000000000"  // mac1, mac2
    private static let response =
        "02000000" + "0d0c0b0a" + "04030201"  // type, sender, receiver
        + "ff2ee45601ec1b67310c7790404585ae697331eee1c1f8cf2419731c1fff3e6b"  // ephemeral
        + "1967da62a47deaad6b2aedf23d555d31"  // nothing
        + "3227f1412d61bde889607266d303e26f" + "00000000000000000000000000000000"  // mac1, mac2
    private static let inner = "4500001c000040004011000a0a0000010a00000204d2162e00080000"
    private static let transport =
        "04000000" + "0d0c0b0a" + "0000000000000000"  // type, receiver, counter
        + "2252514c7e60d50db1ec879cb8c2ace2e6a3efa46c6301fdccc7c54054dec5a4ccb0fb1d572a46596c59b9ed511eb3b7"
    private static let keepalive = "04000000" + "04030201" + "0700000000000000" + "f590e161bc7ff6cdeb8bdff216a04555"

    private static let wall = WallTime(seconds: 1_700_000_000, nanoseconds: 0x1d00_0000 + 77)
    private static let now = MonotonicTime(nanoseconds: 5)

    private func bytes(_ text: String) throws -> [UInt8] { try #require(Hexadecimal.decode(text)) }
    private func key(_ byte: UInt8) throws -> SecretKey {
        try SecretKey(copying: [UInt8](repeating: byte, count: 32))
    }

    private func receive(_ datagram: [UInt8], _ device: inout Device) -> (Decapsulated, [UInt8]) {
        var datagram = datagram
        let result = unsafe datagram.withUnsafeMutableBytes {
            unsafe device.decapsulate($0, from: direct("192.0.2.1:5"), now: Self.now, wall: Self.wall)
        }
        return (result, datagram)
    }

    @Test func `every message of a session is as the paper says, byte for byte`() throws {
        try Libsodium.initialize()
        // The words drawn: one for the jitter, the index, the ephemeral key.
        let words: (UInt64, UInt64) -> [UInt64] = { [0, $0, $1, $1, $1, $1] }
        var initiator = Device(
            privateKey: try key(0x11), random: ScriptedRandom(words: words(0x0102_0304, 0x2222_2222_2222_2222)))
        var responder = Device(
            privateKey: try key(0x33), random: ScriptedRandom(words: words(0x0a0b_0c0d, 0x4444_4444_4444_4444)))
        let (initiatorKey, responderKey) = (initiator.publicKey?.description, responder.publicKey?.description)
        #expect(initiatorKey == Self.initiatorPublic && responderKey == Self.responderPublic)
        let toResponder = try initiator.addPeer(try #require(Bytes32(try bytes(Self.responderPublic))))
        let toInitiator = try responder.addPeer(try #require(Bytes32(try bytes(Self.initiatorPublic))))
        try initiator.setPresharedKey(toResponder, try key(0x55))
        try responder.setPresharedKey(toInitiator, try key(0x55))
        initiator.setPath(toResponder, direct("192.0.2.2:5"))
        initiator.addAllowedIP(toResponder, try prefix("10.0.0.2/32"))
        responder.addAllowedIP(toInitiator, try prefix("10.0.0.1/32"))

        // The packet waits for the handshake.
        let inner = try bytes(Self.inner)
        var buffer = [UInt8](repeating: 0, count: 100)
        let queued = unsafe buffer.withUnsafeMutableBytes { buffer in
            unsafe inner.withUnsafeBytes {
                unsafe initiator.encapsulate($0, into: buffer, now: Self.now, wall: Self.wall)
            }
        }
        #expect(queued == .queued(toResponder))
        let initiations = initiator.drainOutputs()
        #expect(initiations.map { Hexadecimal.encode($0.bytes) } == [Self.initiation])

        let consumed = receive(initiations[0].bytes, &responder).0
        #expect(consumed == .handshake(toInitiator, .initiation))
        let responses = responder.drainOutputs()
        #expect(responses.map { Hexadecimal.encode($0.bytes) } == [Self.response])

        let completed = receive(responses[0].bytes, &initiator).0
        #expect(completed == .handshake(toResponder, .response))
        let packets = initiator.drainOutputs()
        #expect(packets.map { Hexadecimal.encode($0.bytes) } == [Self.transport])
        #expect(packets.map(\.kind) == [.data])

        let (opened, datagram) = receive(packets[0].bytes, &responder)
        #expect(opened == .packet(toInitiator, 16..<44))
        #expect(Hexadecimal.encode(datagram[16..<44]) == Self.inner)

        // The eighth packet the other way is a keepalive with counter 7.
        for counter in 0..<8 {
            responder.sendKeepalive(toInitiator, now: Self.now, wall: Self.wall)
            let keepalives = responder.drainOutputs()
            #expect(keepalives.count == 1)
            if counter == 7 { #expect(Hexadecimal.encode(keepalives[0].bytes) == Self.keepalive) }
            let result = receive(keepalives[0].bytes, &initiator).0
            #expect(result == .keepalive(toResponder))
        }
    }

    @Test func `a cookie reply of another implementation makes the mac2 that it computes`() throws {
        try Libsodium.initialize()
        var initiator = Device(
            privateKey: try key(0x11),
            random: ScriptedRandom(words: [0, 0x0102_0304] + [UInt64](repeating: 0x2222_2222_2222_2222, count: 4)))
        let peer = try initiator.addPeer(try #require(Bytes32(try bytes(Self.responderPublic))))
        initiator.setPath(peer, direct("192.0.2.2:5"))
        initiator.startHandshake(peer, now: Self.now, wall: Self.wall)
        #expect(initiator.drainOutputs().map { Hexadecimal.encode($0.bytes) } == [Self.initiation])

        // Nonce 00…17, cookie 00…0f, sealed with the initiation's mac1.
        let reply = try bytes(
            "03000000" + "04030201" + "000102030405060708090a0b0c0d0e0f1011121314151617"
                + "21eea94a417abbe851b94e7262ece47f4085efdfcd50215399691c31dbab7ac1")
        let result = receive(reply, &initiator).0
        #expect(result == .cookie(peer))

        var generator = CookieGenerator(try #require(Bytes32(try bytes(Self.responderPublic))))
        var message = try Array(bytes(Self.initiation).prefix(116))
        generator.appendMACs(to: &message, now: Self.now)
        let isConsumed = generator.consume(unsafe reply.span.bytes, now: Self.now)
        #expect(isConsumed)
        message = Array(message.prefix(116))
        generator.appendMACs(to: &message, now: Self.now)
        #expect(Hexadecimal.encode(message.suffix(16)) == "a593747d83667ea41577fc160c491e34")
    }
}
