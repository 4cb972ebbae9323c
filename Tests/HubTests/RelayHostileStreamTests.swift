import Addressing
import Directory
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import RelayStream
import Sodium
import Synchronization
import TestSupport
import Testing
import Timing

@testable import Hub
@testable import Relay

/// What a hostile client may do with a stream, and what a relay that lies may not.
@Suite(.timeLimit(.minutes(2))) struct RelayHostileStreamTests {
    static let loop = HubLink.group.next()

    /// A connection to the port without TLS, with bytes by hand.
    final class Raw: ChannelInboundHandler, @unchecked Sendable {
        // Safe: guarded by the mutex.
        typealias InboundIn = ByteBuffer
        private let state = Mutex((bytes: [UInt8](), isClosed: false))
        private let channel = Mutex<(any Channel)?>(nil)

        static func connect(_ port: UInt16) async throws -> Raw {
            let raw = Raw()
            let channel = try await ClientBootstrap(group: HubLink.group)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(raw) }
                }
                .connect(host: "127.0.0.1", port: Int(port)).get()
            raw.channel.withLock { $0 = channel }
            return raw
        }

        /// The opening handshake of RFC 6455 1.3.
        static func upgraded(_ port: UInt16) async throws -> Raw {
            let raw = try await connect(port)
            raw.send(
                "GET /warren/relay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                    + "Sec-WebSocket-Protocol: warren-relay.1\r\n\r\n")
            try await eventually { raw.text.contains("\r\n\r\n") }
            #expect(raw.text.hasPrefix("HTTP/1.1 101"))
            #expect(raw.text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
            raw.clear()
            return raw
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            state.withLock { $0.bytes += bytes.readableBytesView }
        }

        func channelInactive(context: ChannelHandlerContext) { state.withLock { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        var bytes: [UInt8] { state.withLock { $0.bytes } }
        var text: String { String(decoding: bytes, as: UTF8.self) }
        var isClosed: Bool { state.withLock { $0.isClosed } }
        func clear() { state.withLock { $0.bytes = [] } }
        func close() { channel.withLock { $0?.close(promise: nil) } }

        func send(_ text: String) { send(Array(text.utf8)) }
        func send(_ bytes: [UInt8]) { channel.withLock { $0?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) } }

        /// A masked frame, as a client sends it.
        func send(frame opcode: UInt8, _ payload: [UInt8], mask: [UInt8]? = [1, 2, 3, 4], fin: Bool = true) {
            var bytes: [UInt8] = [opcode | (fin ? 0x80 : 0)]
            let flag: UInt8 = mask == nil ? 0 : 0x80
            switch payload.count {
            case 0...125: bytes.append(flag | UInt8(payload.count))
            case 126...65535: bytes += [flag | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
            default: bytes += [flag | 127] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
            }
            bytes += mask ?? []
            bytes += payload.enumerated().map { $1 ^ (mask?[$0 % 4] ?? 0) }
            send(bytes)
        }

        /// The code of the close frame that came last.
        var closeCode: Int? {
            let bytes = bytes
            guard let at = bytes.lastIndex(of: 0x88), bytes.count >= at + 4 else { return nil }
            return Int(bytes[at + 2]) << 8 | Int(bytes[at + 3])
        }
    }

    private func serving(_ body: @escaping @Sendable (TestHub, HubServer) async throws -> Void) async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay(changing: { $0.webListen = Endpoint("127.0.0.1:0")! }) { server in
                try await body(hub, server)
            }
        }
    }

    @Test func `frames that break RFC 6455 or our framing end the stream, and change nothing`() async throws {
        try await serving { hub, server in
            let wrongs: [(String, Int, (Raw) -> Void)] = [
                ("not masked", 1002, { $0.send(frame: 2, [0, 1, 9], mask: nil) }),
                ("text", 1003, { $0.send(frame: 1, [0x68, 0x69]) }),
                ("continuation of nothing", 1002, { $0.send(frame: 0, [0, 1, 9]) }),
                ("a reserved bit", 1002, { $0.send(frame: 0x42, [0, 1, 9]) }),
                ("a message above 64 KiB", 1009, { $0.send(frame: 2, [UInt8](repeating: 0, count: 65_537)) }),
                (
                    "a frame above its limit", 1002,
                    { $0.send(frame: 2, [0x26, 0x01] + [UInt8](repeating: 0, count: 100)) }
                ),
                ("a length beyond the message", 1002, { $0.send(frame: 2, [0, 100, 0xc1]) }),
                ("a length of nothing", 1002, { $0.send(frame: 2, [0, 0]) }),
                ("a fragmented ping", 1002, { $0.send(frame: 9, [1], fin: false) }),
                ("a long ping", 1002, { $0.send(frame: 9, [UInt8](repeating: 0, count: 126)) }),
                (
                    "parts above 64 KiB", 1009,
                    { raw in
                        raw.send(frame: 2, [UInt8](repeating: 0, count: 40_000), fin: false)
                        raw.send(frame: 0, [UInt8](repeating: 0, count: 40_000))
                    }
                ),
            ]
            for (name, code, act) in wrongs {
                let raw = try await Raw.upgraded(server.webPort)
                act(raw)
                try await eventually { raw.isClosed }
                #expect(raw.closeCode == code, "\(name): \(raw.closeCode ?? 0)")
            }
            try await eventually { server.openStreams == 0 }
            #expect(server.registeredAgents == 0)
        }
    }

    @Test func `who does not register is let go after ten seconds, or once it says too much`() async throws {
        try await serving { hub, server in
            let silent = try await Raw.upgraded(server.webPort)
            let slow = try await Raw.connect(server.webPort)
            slow.send("GET /warren/relay HTTP/1.1\r\nHost:")
            let loud = try await Raw.upgraded(server.webPort)
            let frame = FrameHeader(.data, epoch: 1, agent: AgentID(high: 1, low: 2)).bytes
            let data = frame.indices.map { frame[$0] } + [UInt8](repeating: 0, count: 1400)
            for _ in 0..<4 { loud.send(frame: 2, StreamFrames.message(data)) }
            try await eventually(2) { loud.isClosed }
            #expect(loud.closeCode == 1008)
            #expect(!silent.isClosed)
            try await eventually(13) { silent.isClosed && slow.isClosed }
            #expect(silent.closeCode == 4002)
        }
    }

    @Test func `forged, expired, foreign and replayed proofs register nobody`() async throws {
        try await serving { hub, server in
            let connector = hub.connector(server.port)
            // Signed for another relay: what a relay that passes on another's challenge would get.
            let elsewhere = try StreamMember(hub, relayID: AgentID(high: 1, low: 1))
            try await elsewhere.open(connector, on: Self.loop)
            try await eventually { elsewhere.events.contains(.refused(.refused)) }
            // Of another authority.
            try await TestHub.with { other in
                let foreign = try StreamMember(hub, credential: other.credential(for: TestHub.identity()))
                try await foreign.open(connector, on: Self.loop)
                try await eventually { foreign.events.contains(.refused(.refused)) }
            }
            // Another's credential, by itself worth nothing.
            let stolen = try StreamMember(hub, credential: hub.credential(for: TestHub.identity()))
            try await stolen.open(connector, on: Self.loop)
            try await eventually { stolen.events.contains(.refused(.refused)) }
            // Expired, beyond the leeway of the clocks.
            let identity = try TestHub.identity()
            let past = WallTime(seconds: WallTime.now().seconds - 7200)
            let expired = try StreamMember(
                hub, identity: identity, credential: hub.credential(for: identity, now: past))
            try await expired.open(connector, on: Self.loop)
            try await eventually { expired.events.contains(.refused(.refused)) }
            #expect(server.registeredAgents == 0)
            // The proof of one stream, said again on another.
            let member = try StreamMember(hub)
            try await member.register(connector, on: Self.loop)
            let proof = try #require(member.lastProof)
            member.close()
            try await eventually { server.registeredAgents == 0 }
            let raw = try await Raw.upgraded(server.webPort)
            raw.send(frame: 2, StreamFrames.message(proof))
            try await eventually { !raw.bytes.isEmpty }
            // 2 of WebSocket, 2 of length, and the error frame: bad cookie.
            #expect(raw.bytes.count >= 7 && raw.bytes[4] == FrameType.error.rawValue)
            #expect(raw.bytes[6] == RelayErrorCode.badCookie.rawValue)
            #expect(server.registeredAgents == 0)
        }
    }

    @Test func `a member can neither send in another's name nor make the relay answer more than it was asked`()
        async throws
    {
        try await serving { hub, server in
            let connector = hub.connector(server.port)
            let (first, second) = (try StreamMember(hub), try StreamMember(hub))
            try await first.register(connector, on: Self.loop)
            try await second.register(connector, on: Self.loop)
            // With another epoch, as a session before would have had.
            var stale = first.frame(to: second.id, [1, 2, 3])
            stale[3] = stale[3] &+ 1
            first.connection?.send(frame: stale, isControl: false)
            // To somebody who is not there: an error frame of 20 bytes for each, and no more than twenty.
            for _ in 0..<200 { first.send(to: AgentID(high: 9, low: 9), [UInt8](repeating: 0, count: 100)) }
            first.send(to: second.id, [7])
            try await eventually { second.inbox.count == 1 }
            #expect(second.inbox.map(\.payload) == [[7]])
            #expect(second.inbox[0].source == first.id)
            let unknown = first.events.count { $0 == .unknownDestination(AgentID(high: 9, low: 9)) }
            #expect(unknown <= 20)
        }
    }

    @Test func `what passes a relay is what was sent, and a relay's own page says nothing of agents`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay(changing: { $0.metricsListen = Endpoint("127.0.0.1:0")! }) { server in
                let member = try StreamMember(hub)
                try await member.register(hub.connector(server.port), on: Self.loop)
                let raw = try await Raw.connect(server.metricsPort)
                raw.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                try await eventually { raw.isClosed }
                #expect(raw.text.contains("warren_relay_agents 1\n"))
                #expect(raw.text.contains("warren_relay_streams 1\n"))
                #expect(!raw.text.contains(member.id.description))
                // Nor does it serve streams there.
                let other = try await Raw.connect(server.metricsPort)
                other.send("GET /warren/relay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                try await eventually { other.isClosed }
                #expect(other.text.hasPrefix("HTTP/1.1 404"))
            }
        }
    }

    @Test func `100,000 hostile frames on a stream move nothing and are answered with no more than they were`()
        async throws
    {
        try await serving { hub, server in
            let member = try StreamMember(hub)
            try await member.register(hub.connector(server.port), on: Self.loop)
            var random = SeededRandom(seed: 20)
            let samples: [[UInt8]] = [
                Hello(agent: member.id, nonce: 1).bytes, Ping(agent: member.id, epoch: 1, nonce: 2).bytes,
                member.frame(to: member.id, [1, 2, 3]), member.lastProof ?? [],
                Drain(agent: member.id, epoch: 1, seconds: 3).bytes,
            ]
            var (sent, received) = (0, 0)
            for _ in 0..<20 {
                let raw = try await Raw.upgraded(server.webPort)
                for _ in 0..<50 where !raw.isClosed {
                    var message: [UInt8] = []
                    for _ in 0..<100 {
                        var frame = samples.randomElement(using: &random) ?? []
                        for _ in 0..<Int.random(in: 1...4, using: &random) where !frame.isEmpty {
                            frame[Int.random(in: 0..<frame.count, using: &random)] = .random(
                                in: 0...255, using: &random)
                        }
                        message += StreamFrames.message(Array(frame.prefix(Int.random(in: 1...400, using: &random))))
                    }
                    raw.send(frame: 2, message)
                    sent += message.count
                }
                try await eventually { raw.isClosed }
                received += raw.bytes.count
            }
            #expect(received < sent)
            #expect(server.registeredAgents == 1 && member.isUp)
            member.send(to: member.id, [5])
            try await eventually { member.inbox.last?.payload == [5] }
        }
    }
}
