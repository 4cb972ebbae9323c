import Addressing
import Testing
import Timing

@testable import Relay

/// One relay, its transports raced; round trip 40 ms.
@Suite struct RelayUplinkTests {
    private func fleet(
        _ seed: UInt64 = 1, delay: Interval = .milliseconds(20),
        transports: Set<RelayTransport> = [.udp, .tls, .proxy],
        blocked: Set<RelayTransport> = [], known: Set<RelayTransport> = []
    ) throws -> RelayFleet {
        try RelayFleet(seed: seed, relays: 1, delay: delay, transports: transports, blocked: blocked, known: known)
    }

    /// How long it took, and which transport it was.
    private func up(_ fleet: RelayFleet) throws -> (after: Interval, transport: RelayTransport)? {
        guard try fleet.run(.seconds(30), until: { $0.homes.uplink(0)?.active != nil }),
            let transport = fleet.homes.uplink(0)?.active
        else { return nil }
        return (fleet.elapsed, transport)
    }

    @Test func `where UDP works it is up in two round trips, and no stream was opened`() throws {
        let fleet = try fleet()
        let result = try #require(try up(fleet))
        #expect(result.transport == .udp && result.after == .milliseconds(80))
        try fleet.run(.seconds(60))
        #expect(fleet.opens.isEmpty)
    }

    @Test(
        arguments: [
            ([RelayTransport.udp], [], RelayTransport.tls, 210 as UInt64),
            ([.udp], [.udp], .tls, 160),
            ([.udp, .tls], [], .proxy, 350),
            ([.udp, .tls], [.udp], .proxy, 300),
            ([.udp, .tls], [.udp, .tls], .proxy, 200),
        ] as [([RelayTransport], [RelayTransport], RelayTransport, UInt64)])
    func `what is blocked costs its head start, or nothing where it is known`(
        blocked: [RelayTransport], known: [RelayTransport], expected: RelayTransport, milliseconds: UInt64
    ) throws {
        let fleet = try fleet(blocked: Set(blocked), known: Set(known))
        let result = try #require(try up(fleet))
        print(
            "uplink: \(blocked) blocked, \(known) known: \(result.transport) up after \(result.after.milliseconds) ms")
        #expect(result.transport == expected && result.after == .milliseconds(milliseconds))
    }

    @Test func `a UDP that is slower than the head start still wins, and the stream is given up`() throws {
        let fleet = try fleet(delay: .milliseconds(100))
        let result = try #require(try up(fleet))
        #expect(result.transport == .udp && result.after == .milliseconds(400))
        #expect(fleet.opens.map(\.transport) == [.tls, .proxy])
        try fleet.run(.seconds(20))
        #expect(fleet.homes.uplink(0)?.active == .udp && fleet.homes.uplink(0)?.streams.isEmpty == true)
        #expect(fleet.servers[0]?.server.link(of: fleet.member.id) == RelayLink(RelayFleet.agentEndpoint))
    }

    @Test func `when UDP comes back it takes over from the stream, which the relay ends`() throws {
        let fleet = try fleet(blocked: [.udp])
        #expect(try up(fleet)?.transport == .tls)
        let stream = fleet.servers[0]?.server.link(of: fleet.member.id)
        #expect(stream?.isStream == true)
        fleet.blocked = []
        #expect(try fleet.run(.seconds(6), until: { $0.homes.uplink(0)?.active == .udp }))
        #expect(fleet.servers[0]?.server.link(of: fleet.member.id) == RelayLink(RelayFleet.agentEndpoint))
        #expect(!fleet.log.contains { $0.event == .relay(0, .down) })
        // It really carries data.
        fleet.sendToSelf(through: 0)
        #expect(try fleet.run(.seconds(1), until: { $0.received.count == 1 }))
    }

    @Test func `UDP is asked for rarely while it stays blocked`() throws {
        let fleet = try fleet(blocked: [.udp, .proxy])
        #expect(try up(fleet)?.transport == .tls)
        try fleet.run(.seconds(3600))
        #expect(fleet.homes.uplink(0)?.active == .tls)
        #expect(!fleet.log.contains { $0.event == .relay(0, .down) })
        // 5, 15, 60 s and then each 300 s, of two seconds.
        #expect(fleet.homes.uplink(0)?.udpTrials == 3 + (3600 - 86) / 302 + 1)
    }

    @Test func `data goes through whichever transport serves, and after each change`() throws {
        for blocked: Set<RelayTransport> in [[], [.udp], [.udp, .tls]] {
            let fleet = try fleet(blocked: blocked)
            _ = try up(fleet)
            fleet.sendToSelf(through: 0)
            #expect(try fleet.run(.seconds(1), until: { $0.received.count == 1 }))
        }
    }

    @Test func `a relay that is gone is tried with full jitter from 250 ms up to 30 s`() throws {
        var waits: [Double] = []
        for seed in 1...40 as ClosedRange<UInt64> {
            let fleet = try fleet(seed, transports: [.tls])
            _ = try up(fleet)
            try fleet.run(.seconds(20))
            fleet.kill(0)
            let before = fleet.opens.count
            try fleet.run(.seconds(600))
            let times = fleet.opens[before...].map { $0.at.since(fleet.start).seconds }
            for (earlier, later) in zip(times, times.dropFirst()) {
                let wait = later - earlier - 0.04
                #expect(wait <= 30.001)
                waits.append(wait)
            }
        }
        let late = waits.filter { $0 > 15 }.count
        #expect(waits.count > 1000 && late > waits.count / 4)
        #expect(waits.filter { $0 < 0.25 }.count > 20)
    }

    @Test func `it comes back by itself when the relay does`() throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            let fleet = try fleet(seed, blocked: seed % 2 == 0 ? [.udp] : [])
            _ = try up(fleet)
            try fleet.run(.seconds(20))
            fleet.kill(0)
            try fleet.run(.seconds(5))
            #expect(fleet.homes.isUsable(0) == false || seed % 2 == 1)
            fleet.servers[0] = try fleet.server(0)
            #expect(
                try fleet.run(.seconds(60), until: { $0.servers[0]?.server.clientCount == 1 && $0.homes.isUsable(0) }))
        }
    }
}
