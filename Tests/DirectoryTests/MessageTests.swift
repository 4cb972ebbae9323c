import Addressing
import Membership
import NIOCore
import Sodium
import Testing
import Timing

@testable import Directory

@Suite struct MessageTests {
    private static let key = Bytes32([UInt8](repeating: 1, count: 32))!
    private static let signature = [UInt8](repeating: 2, count: 64)
    private static let id = AgentID(high: 1, low: 2)
    private static let record = Record(credential: "c.c.c", announcement: "a.a.a")
    private static let info = MeshInfo(
        directory: HubAddress("hub:7443")!, directoryPin: key,
        ranges: [IPPrefix("fd12::/48")!, IPPrefix("10.9.0.0/16")!],
        relays: [
            .init(
                id: id, endpoints: [Endpoint("192.0.2.1:3478")!, Endpoint("[2001:db8::1]:3478")!],
                streams: [.init(address: HubAddress("relay.example:443")!, pin: key)]),
            .init(id: AgentID(high: 3, low: 4), endpoints: [Endpoint("192.0.2.2:3478")!]),
        ],
        stun: [Endpoint("192.0.2.1:3478")!])

    static let all: [Message] = [
        .hello(nonce: key, time: WallTime(seconds: 1_800_000_000), roles: [.authority, .directory]),
        .join(
            request: 1,
            .init(
                secret: [UInt8](repeating: 3, count: 32), identityKey: key, name: "agent-1",
                addresses: [IPAddress("fd12::1")!, IPAddress("10.9.0.1")!], signature: signature)),
        .joined(request: 1, credential: "c.c.c", info), .renew(request: 2, identityKey: key, signature: signature),
        .leave(request: 3, identityKey: key, signature: signature), .left(request: 3),
        .authenticate(request: 4, credential: "c.c.c", signature: signature), .authenticated(request: 4),
        .publish(request: 5, announcement: "a.a.a"), .published(request: 5, sequence: .max),
        .stale(request: 5, sequence: 7),
        .lookup(request: 6, .address(IPAddress("fd12::1")!)), .lookup(request: 7, .name("agent-1")),
        .lookup(request: 8, .id(id)), .found(request: 6, record), .notFound(request: 7), .update(record), .forget(id),
        .withdraw(request: 9), .withdrawn(request: 9),
        .signal(peer: id, payload: []), .signal(peer: id, payload: [UInt8](repeating: 9, count: 1200)),
        .undeliverable(id), .ping(1), .pong(.max), .error(request: 0, code: .nameTaken, text: "taken"),
        .lease(
            request: 9,
            .init(
                secret: [UInt8](repeating: 3, count: 32), identityKey: key, name: "node-1", signature: signature)),
        .leased(
            request: 9,
            NodeBlock(number: 7, ipv6: IPPrefix("fd12:0:0:7::/64")!, ipv4: IPPrefix("10.9.7.0/24")!),
            expires: WallTime(seconds: 1_800_000_000)),
        .leased(
            request: 10, NodeBlock(number: 65535, ipv6: IPPrefix("fd12:0:0:ffff::/64")!, ipv4: nil),
            expires: WallTime(seconds: 1)),
        .accountJoin(
            request: 11,
            .init(
                token: [UInt8](repeating: 0x61, count: 1200), identityKey: key,
                addresses: [IPAddress("fd12::1")!, IPAddress("10.9.0.1")!], signature: signature)),
        .accountLease(
            request: 12, .init(token: Array("a.b.c".utf8), identityKey: key, addresses: [], signature: signature)),
        .later(request: 11, seconds: 5, text: "come again"),
        .members(request: 11, GroupName("web.shop")!), .memberList(request: 11, []),
        .memberList(request: 12, [AgentID](repeating: id, count: 16)),
    ]

    private func encode(_ messages: [Message]) -> ByteBuffer {
        var buffer = ByteBuffer()
        for message in messages { MessageEncoder().encode(data: message, out: &buffer) }
        return buffer
    }

    /// What a decoder makes of `buffer`, a few bytes at a time.
    private func decode(_ buffer: ByteBuffer, step: Int = .max, counters: FrameCounters = .init()) throws -> [Message] {
        var decoder = MessageDecoder(counters: counters)
        var (rest, received, messages) = (buffer, ByteBuffer(), [Message]())
        while let chunk = rest.readSlice(length: min(step, rest.readableBytes)), chunk.readableBytes > 0 {
            received.writeImmutableBuffer(chunk)
            while let message = try decoder.decode(buffer: &received) { messages.append(message) }
        }
        return messages
    }

    @Test(arguments: [1, 3, 1000, Int.max])
    func `every message comes back from a stream in pieces of any size`(step: Int) throws {
        #expect(try decode(encode(Self.all), step: step) == Self.all)
    }

    @Test func `a frame is length, type, version, body`() {
        // length 10, ping, version 1, value 258
        #expect(Array(encode([.ping(258)]).readableBytesView) == [0, 10, 0xD2, 1, 0, 0, 0, 0, 0, 0, 1, 2])
    }

    @Test(arguments: all)
    func `a truncated or overlong body is no message`(message: Message) throws {
        var frame = encode([message])
        frame.moveReaderIndex(forwardBy: 4)
        let body = frame
        for length in 0..<body.readableBytes {
            let part = body.getSlice(at: body.readerIndex, length: length)
            #expect(Message(type: message.type, body: part ?? ByteBuffer()) != message)
        }
        var longer = body
        longer.writeInteger(UInt8(0))
        #expect(Message(type: message.type, body: longer) == nil)
    }

    @Test func `unknown types and versions are dropped and counted`() throws {
        var buffer = ByteBuffer()
        for (type, version) in [(0xFF, 1), (0xDC, 1), (0xD2, 2), (0xD2, 0), (0x17, 1)] as [(UInt8, UInt8)] {
            buffer.writeInteger(UInt16(10))
            buffer.writeBytes([type, version] + [UInt8](repeating: 0, count: 8))
        }
        buffer.writeImmutableBuffer(encode([.ping(1)]))
        let counters = FrameCounters()
        #expect(try decode(buffer, counters: counters) == [.ping(1)])
        #expect(counters.unknownFrames == 5)
    }

    @Test(arguments: [0, 1, 8191, 65535] as [UInt16])
    func `a length out of bounds ends the stream`(length: UInt16) {
        var buffer = ByteBuffer(integer: length)
        buffer.writeBytes([0xD2, 1])
        #expect(throws: FrameError.length(Int(length))) { try decode(buffer) }
    }

    @Test func `a malformed body of a known type ends the stream`() {
        let buffer = ByteBuffer(bytes: [0, 3, 0xD2, 1, 0])
        #expect(throws: FrameError.body(type: 0xD2)) { try decode(buffer) }
    }

    @Test func `a signal above its limit is no message`() {
        var body = ByteBuffer(bytes: Self.id.bytes)
        body.writeInteger(UInt16(1201))
        body.writeBytes([UInt8](repeating: 0, count: 1201))
        #expect(Message(type: 0xD0, body: body) == nil)
    }

    @Test func `a node's request with addresses, or a token above its limit, is no message`() {
        func body(_ token: Int, _ addresses: [IPAddress]) -> ByteBuffer {
            var buffer = ByteBuffer()
            let proof = Message.AccountProof(
                token: [UInt8](repeating: 0x61, count: token), identityKey: Self.key, addresses: addresses,
                signature: Self.signature)
            Message.accountJoin(request: 1, proof).writeBody(to: &buffer)
            return buffer
        }
        #expect(Message(type: 0xD8, body: body(10, [])) != nil)
        #expect(Message(type: 0xD8, body: body(10, [IPAddress("fd12::1")!])) == nil)
        #expect(Message(type: 0xD7, body: body(ServiceAccountToken.sizeLimit, [])) != nil)
        #expect(Message(type: 0xD7, body: body(ServiceAccountToken.sizeLimit + 1, [])) == nil)
    }

    @Test func `no bytes crash the decoder`() {
        var seeded = Seeded(state: 2026)
        for _ in 0..<3000 {
            var bytes = Array(encode([Self.all.randomElement(using: &seeded) ?? .ping(0)]).readableBytesView)
            for _ in 0..<3 {
                bytes[Int.random(in: 0..<bytes.count, using: &seeded)] = UInt8.random(in: 0...255, using: &seeded)
            }
            _ = try? decode(ByteBuffer(bytes: bytes))
        }
    }

    private struct Seeded: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }
}
