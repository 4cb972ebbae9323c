import Addressing
import STUN
import Sodium
import TestSupport
import Testing
import Timing

@testable import Relay

@Suite struct RelayServerForwardingTests {
    @Test func `relay data is rewritten in place: the source's id, the receiver's epoch, the payload untouched`() throws
    {
        let bench = try Bench(seed: 1)
        let (sender, receiver) = (try bench.member(), try bench.member())
        let senderEpoch = try bench.register(sender, at: bench.endpoint(1))
        let receiverEpoch = try bench.register(receiver, at: bench.endpoint(2))
        let payload = bench.random.bytes(1300)
        var datagram = bench.data(to: receiver.id, epoch: senderEpoch, payload)
        datagram[2] = 0x5a
        let action = bench.receive(&datagram, from: bench.endpoint(1))
        #expect(action == .forward(to: RelayLink(bench.endpoint(2))))
        let header = try unsafe FrameHeader(datagram.span.bytes)
        #expect(header == FrameHeader(.data, flags: 0x5a, epoch: receiverEpoch, agent: sender.id))
        #expect(Array(datagram[20...]) == payload)
        #expect(bench.server.counters.forwardedPackets == 1)
        #expect(bench.server.counters.forwardedBytes == 1320)
    }

    @Test func `an empty payload is forwarded and a shorter header dropped`() throws {
        let bench = try Bench(seed: 2)
        let member = try bench.member()
        let epoch = try bench.register(member, at: bench.endpoint(1))
        let datagram = bench.data(to: member.id, epoch: epoch, [])
        #expect(bench.receive(datagram, from: bench.endpoint(1)) == .forward(to: RelayLink(bench.endpoint(1))))
        for count in 1..<20 {
            #expect(bench.receive(Array(datagram.prefix(count)), from: bench.endpoint(1)) == .drop(.truncated))
        }
        #expect(bench.receive([], from: bench.endpoint(1)) == .drop(.empty))
    }

    @Test func `nothing is forwarded for an unproven source`() throws {
        let bench = try Bench(seed: 3)
        let receiver = try bench.member()
        try bench.register(receiver, at: bench.endpoint(2))
        let errors = (0...255 as ClosedRange<UInt8>).count { epoch in
            let action = bench.receive(bench.data(to: receiver.id, epoch: epoch, [1]), from: bench.endpoint(66))
            return bench.errorCode(action) == .notRegistered
        }
        #expect(errors == 20)
        #expect(bench.server.counters.forwardedPackets == 0)
        #expect(bench.server.counters[.notRegistered] == 256)
    }

    @Test func `an unknown destination gets an error of 20 bytes, and few of them`() throws {
        let bench = try Bench(seed: 4)
        let (sender, absent) = (try bench.member(), try bench.member())
        let epoch = try bench.register(sender, at: bench.endpoint(1))
        var errors = 0
        for _ in 0..<1000 {
            let action = bench.receive(bench.data(to: absent.id, epoch: epoch, [1, 2, 3]), from: bench.endpoint(1))
            guard case .reply(let reply) = action else { continue }
            errors += 1
            #expect(
                try unsafe RelayErrorFrame(reply.span.bytes)
                    == RelayErrorFrame(code: .unknownDestination, epoch: epoch, agent: absent.id, nonce: nil))
        }
        #expect(errors == 20)
        #expect(bench.server.counters[.unknownDestination] == 1000)
    }

    @Test func `a client has its rate of packets and of bytes, and others are not touched by it`() throws {
        var configuration = RelayServer.Configuration()
        configuration.packetLimit = .init(perSecond: 100, burst: 200)
        configuration.byteLimit = .init(perSecond: 100_000, burst: 50_000)
        let bench = try Bench(seed: 5, configuration)
        let (flooding, calm) = (try bench.member(), try bench.member())
        let epoch = try bench.register(flooding, at: bench.endpoint(1))
        let calmEpoch = try bench.register(calm, at: bench.endpoint(2))
        func flood(_ count: Int, _ size: Int) -> Int {
            (0..<count).count { _ in
                let datagram = bench.data(to: calm.id, epoch: epoch, Array(repeating: 0, count: size - 20))
                return bench.receive(datagram, from: bench.endpoint(1)) == .forward(to: RelayLink(bench.endpoint(2)))
            }
        }
        #expect(flood(1000, 20) == 200)
        #expect(bench.server.counters[.packetRateLimited] == 800)
        bench.now = bench.now + .seconds(1)
        #expect(flood(99, 1000) == 50)
        #expect(bench.server.counters[.byteRateLimited] == 49)
        // Its pings pass all the same, and so does the other client's data.
        let ping = Ping(agent: flooding.id, epoch: epoch, nonce: 1)
        #expect(bench.receive(ping.bytes, from: bench.endpoint(1)) == .reply(ping.pongBytes))
        #expect(
            bench.receive(bench.data(to: flooding.id, epoch: calmEpoch, [1]), from: bench.endpoint(2))
                == .forward(to: RelayLink(bench.endpoint(1))))
    }

    @Test func `pings are limited, and refused for another agent's id`() throws {
        let bench = try Bench(seed: 6)
        let (member, other) = (try bench.member(), try bench.member())
        let epoch = try bench.register(member, at: bench.endpoint(1))
        let foreign = Ping(agent: other.id, epoch: epoch, nonce: 1)
        #expect(bench.errorCode(bench.receive(foreign.bytes, from: bench.endpoint(1))) == .notRegistered)
        let ping = Ping(agent: member.id, epoch: epoch, nonce: 2)
        let answered = (0..<100).count { _ in
            bench.receive(ping.bytes, from: bench.endpoint(1)) == .reply(ping.pongBytes)
        }
        #expect(answered == 40)
        #expect(bench.server.counters[.pingRateLimited] == 60)
    }

    @Test func `a flood of data that is refused hinders neither pings nor the way back in`() throws {
        let bench = try Bench(seed: 10)
        let (member, absent) = (try bench.member(), try bench.member())
        let epoch = try bench.register(member, at: bench.endpoint(1))
        let data = bench.data(to: absent.id, epoch: epoch, [1, 2, 3])
        for _ in 0..<5000 { _ = bench.receive(data, from: bench.endpoint(1)) }
        let ping = Ping(agent: member.id, epoch: epoch, nonce: 1)
        #expect(bench.receive(ping.bytes, from: bench.endpoint(1)) == .reply(ping.pongBytes))
        // The NAT maps it to another port, and it sends on before it knows.
        let errors = (0..<5000).count { _ in
            bench.errorCode(bench.receive(data, from: bench.endpoint(1, 40001))) == .notRegistered
        }
        #expect(errors == 20)
        bench.now = bench.now + .milliseconds(1)
        try bench.register(member, at: bench.endpoint(1, 40001))
    }

    @Test func `a drain names every client under its epoch`() throws {
        let bench = try Bench(seed: 7)
        let (first, second) = (try bench.member(), try bench.member())
        let epochs = [
            try bench.register(first, at: bench.endpoint(1)), try bench.register(second, at: bench.endpoint(2)),
        ]
        let notices = bench.server.drain(within: 10).sorted { $0.to.endpoint < $1.to.endpoint }
        #expect(notices.map(\.to.endpoint) == [bench.endpoint(1), bench.endpoint(2)])
        #expect(notices[0].datagram == Drain(agent: first.id, epoch: epochs[0], seconds: 10).bytes)
        #expect(notices[1].datagram == Drain(agent: second.id, epoch: epochs[1], seconds: 10).bytes)
    }

    @Test func `what is not ours is told apart`() throws {
        let bench = try Bench(seed: 8)
        let source = bench.endpoint(1)
        for type in 1...4 as ClosedRange<UInt8> {
            #expect(bench.receive([type, 0, 0, 0] + bench.random.bytes(28), from: source) == .drop(.wireGuard))
        }
        // WireGuard's receiver index may be STUN's cookie.
        let cookieLike: [UInt8] = [4, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42] + bench.random.bytes(24)
        #expect(bench.receive(cookieLike, from: source) == .drop(.wireGuard))
        #expect(bench.receive(Array(repeating: 0x55, count: 40), from: source) == .drop(.foreign))
        let ping = Ping(agent: AgentID(high: 0, low: 0), epoch: 1, nonce: 1)
        for type in [0xc9, 0xcf, 0xd0, 0xe0, 0xff] as [UInt8] {
            #expect(bench.receive([type] + ping.bytes.dropFirst(), from: source) == .drop(.unknownType))
        }
        #expect(bench.receive([0xc6, 2] + ping.bytes.dropFirst(2), from: source) == .drop(.unknownVersion))
        for type in [0xc2, 0xc4, 0xc5, 0xc7, 0xc8] as [UInt8] {
            #expect(bench.receive([type] + ping.bytes.dropFirst(), from: source) == .drop(.unexpectedType))
        }
        #expect(bench.server.clientCount == 0)
    }

    @Test func `STUN is answered on the same socket`() throws {
        let bench = try Bench(seed: 9)
        var client = BindingClient(servers: [Bench.relayEndpoint], now: bench.now)
        guard case .send(let request, _)? = client.poll(now: bench.now, using: &bench.random).first,
            case .reply(let reply) = bench.receive(request, from: bench.endpoint(1))
        else {
            Issue.record("no reply")
            return
        }
        let received = unsafe client.receive(reply.span.bytes, from: Bench.relayEndpoint, now: bench.now)
        guard case .mapped(let mapping) = received else {
            Issue.record("not mapped")
            return
        }
        #expect(mapping.mapped == bench.endpoint(1))
    }
}
