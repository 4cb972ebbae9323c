import Addressing
import TestSupport
import Testing
import Timing

@testable import PortMapping

@Suite struct GatewayClientTests {
    static let combinations: [Set<MappingProtocol>] = (0..<8).map { bits in
        Set(MappingProtocol.allCases.enumerated().filter { bits & (1 << $0.offset) != 0 }.map(\.element))
    }

    @Test(arguments: combinations)
    func `the best protocol that the gateway speaks maps, and no other`(speaks: Set<MappingProtocol>) {
        var run = MappingRun(FakeGateway(speaks: speaks))
        run.run(for: .seconds(5))
        let best = MappingProtocol.allCases.first { speaks.contains($0) }
        #expect(run.client.mapped?.source == best)
        #expect(Set(run.gateway.held.keys) == Set([best].compactMap(\.self)))
        #expect(run.client.mapped?.external.address == best.map { _ in .v4(FakeGateway.outside) })
        #expect(run.client.mapped?.external.port == best.flatMap { run.gateway.held[$0] })
        #expect(run.events.count == (best == nil ? 0 : 1))
        #expect(run.client.isSettled)
        #expect(run.strays == [])
        for each in MappingProtocol.allCases {
            switch run.client.findings[each] {
            case .found: #expect(speaks.contains(each))
            case .absent, .refused: #expect(!speaks.contains(each))
            case .searching, nil: Issue.record("\(each) is not settled")
            }
        }
    }

    @Test func `PCP maps within a round trip, NAT-PMP after patience, UPnP after twice that`() {
        let times = MappingProtocol.allCases.map { speaks -> Double in
            var run = MappingRun(FakeGateway(speaks: [speaks]))
            let start = run.now
            while run.client.mapped == nil, run.now.since(start) < .seconds(5) { run.run(for: .milliseconds(1)) }
            return run.now.since(start).milliseconds
        }
        #expect(times[0] <= 5)
        // A NAT-PMP server says at once that it knows no PCP.
        #expect(times[1] <= 10)
        #expect(times[2] <= 820)
    }

    @Test(arguments: MappingProtocol.allCases)
    func `a mapping is renewed at half its life, for days, and deleted at the end`(speaks: MappingProtocol) {
        var run = MappingRun(FakeGateway(speaks: [speaks]))
        run.gateway.longest = 3600
        run.run(for: .seconds(2 * 86_400))
        #expect(run.events.count == 1)
        let maps = run.gateway.log.count { $0.contains(" map") }
        // UPnP grants what is asked for: two hours.
        let expected = speaks == .upnp ? 2 * 24 : 4 * 24
        #expect((expected...expected + 2).contains(maps))
        run.stop()
        #expect(run.gateway.held.isEmpty)
        #expect(run.client.mapped == nil)
        guard case .lost = run.events.last else {
            Issue.record("the loss was not told")
            return
        }
        #expect(run.client.nextTimer == .never)
    }

    @Test(arguments: [MappingProtocol.pcp, .natPMP])
    func `a gateway that is gone loses the mapping at its end, and one that comes back gives it again`(
        speaks: MappingProtocol
    ) {
        var run = MappingRun(FakeGateway(speaks: [speaks]))
        run.gateway.longest = 600
        run.run(for: .seconds(5))
        run.gateway.isDead = true
        run.run(for: .seconds(590))
        #expect(run.client.mapped != nil)
        run.run(for: .seconds(10))
        #expect(run.client.mapped == nil)
        run.gateway.isDead = false
        run.run(for: .seconds(3700))
        #expect(run.client.mapped?.source == speaks)
        #expect(run.events.count == 3)
    }

    @Test func `a restart that is announced renews at once, and a forged one at most every five seconds`() {
        var run = MappingRun(FakeGateway(speaks: [.pcp]))
        run.run(for: .seconds(60))
        run.gateway.reboot(now: run.now)
        run.receive(run.gateway.announcement(now: run.now), port: 5351)
        run.run(for: .milliseconds(10))
        #expect(run.gateway.held[.pcp] == 40_000)
        let before = run.gateway.log.count
        for step in 0..<1000 {
            // Each with another epoch, so that each looks like a restart.
            var forged = run.gateway.announcement(now: run.now)
            forged[8] = UInt8(truncatingIfNeeded: step)
            run.receive(forged, port: 5351)
            run.run(for: .milliseconds(10))
        }
        #expect(run.gateway.log.count - before <= 3)
    }

    @Test func `a restart that NAT-PMP tells by its epoch renews at once, and a new address is told`() {
        var run = MappingRun(FakeGateway(speaks: [.natPMP]))
        run.run(for: .seconds(600))
        run.gateway.reboot(now: run.now)
        run.gateway.external = IPv4Address(198, 51, 100, 9)
        run.receive([0, 128, 0, 0] + bigEndian(UInt32(0)) + run.gateway.external.bytes, port: 5351)
        run.run(for: .milliseconds(10))
        #expect(run.gateway.held[.natPMP] == 40_001)
        #expect(run.client.mapped?.external.address == .v4(IPv4Address(198, 51, 100, 9)))
        #expect(run.events.count == 3)
    }

    @Test func `a refusal of PCP is named, and the next protocol maps`() {
        var gateway = FakeGateway(speaks: [.pcp, .natPMP])
        gateway.pcpResult = 2
        var run = MappingRun(gateway)
        run.run(for: .seconds(5))
        #expect(run.client.findings[.pcp] == .refused("not authorized"))
        #expect(run.client.mapped?.source == .natPMP)
    }

    @Test(arguments: [
        (FakeGateway.Quirk.onlyPermanent, 2, "upnp map 0"), (.permanentBy402, 1, "upnp map 0"),
        (.inUse, 2, "upnp map 7200"), (.inUse, 1, "upnp map 7200"), (.noAnyPort, 2, "upnp map 7200"),
    ])
    func `what UPnP gateways are known to refuse is asked for otherwise`(
        quirk: FakeGateway.Quirk, version: Int, last: String
    ) {
        var gateway = FakeGateway(speaks: [.upnp])
        gateway.quirks = [quirk]
        gateway.igdVersion = version
        var run = MappingRun(gateway)
        run.run(for: .seconds(5))
        #expect(run.client.mapped?.source == .upnp)
        #expect(run.client.mapped?.external.port == run.gateway.held[.upnp])
        #expect(run.gateway.log.last == last)
        run.run(for: .seconds(7200))
        #expect(run.events.count == 1)
        run.stop()
        #expect(run.gateway.held.isEmpty)
    }

    @Test func `discovery asks what changes nothing, and leaves nothing behind`() {
        var run = MappingRun(FakeGateway(speaks: [.pcp, .natPMP, .upnp]), .discover)
        run.run(for: .seconds(5))
        #expect(run.client.findings[.pcp] == .found(external: nil))
        #expect(run.client.findings[.natPMP] == .found(external: .v4(FakeGateway.outside)))
        #expect(run.client.findings[.upnp] == .found(external: .v4(FakeGateway.outside)))
        #expect(run.gateway.held.isEmpty)
        #expect(!run.gateway.log.contains { $0.contains("map") })
        run.stop()
        #expect(!run.gateway.log.contains { $0.contains("delete") })
    }

    @Test func `an absent gateway is asked again ever less often`() {
        var run = MappingRun(FakeGateway(speaks: []))
        run.run(for: .seconds(86_400))
        // After 1, 2, 4, …, 32 minutes, and then each hour.
        let rounds = run.gateway.log.count { $0 == "search" } / 16
        #expect((25...30).contains(rounds))
    }

    @Test(arguments: ["http://10.1.0.9:5000/desc.xml", "http://192.0.2.1/", "https://10.1.0.1/", "file:///etc/passwd"])
    func `a description anywhere else is not fetched`(location: String) {
        var gateway = FakeGateway(speaks: [.upnp])
        gateway.location = location
        var run = MappingRun(gateway)
        run.run(for: .seconds(5))
        #expect(run.strays == [])
        #expect(run.client.mapped == nil)
        #expect(run.client.findings[.upnp] == .absent)
    }

    @Test func `answers from others than the gateway, or with another nonce, change nothing`() {
        var run = MappingRun(FakeGateway(speaks: []))
        run.run(for: .milliseconds(1))
        let forged = hex(
            """
            02 81 00 00 00000e10 000003e8 000000000000000000000000
            000102030405060708090a0b 11 000000 ca6c 9c41 00000000000000000000ffff cb00710b
            """)
        run.receive(forged, port: 5351)
        run.receive(hex("00 80 0000 000003e8 cb00710b"), port: 5351, from: IPv4Address(10, 1, 0, 66))
        run.run(for: .seconds(5))
        #expect(run.client.mapped == nil)
        #expect(run.client.findings == [.pcp: .absent, .natPMP: .absent, .upnp: .absent])
    }

    @Test func `20,000 mutated answers at any time change no mapping to another host's and trap nothing`() {
        var run = MappingRun(FakeGateway(speaks: [.pcp, .natPMP, .upnp]))
        run.run(for: .seconds(5))
        var random = SeededRandom(seed: 5351)
        let samples = [
            run.gateway.announcement(now: run.now), hex("00 81 0000 000003e8 ca6c 9c41 00000e10"),
            hex("00 80 0000 000003e8 cb00710b"), hex("00 81 0002 000003e8 ca6c 0000 00000000"),
        ]
        for round in 0..<20_000 {
            run.receive(random.mutated(samples[round % samples.count]), port: round % 5 == 0 ? 1900 : 5351)
            run.run(for: .milliseconds(1))
        }
        #expect(run.strays == [])
        #expect(run.client.mapped?.external == Endpoint(.v4(FakeGateway.outside), port: 40_000))
    }
}

@Suite struct ServerEpochTests {
    @Test func `a clock that runs like ours is the same server, and one that jumps is a new one`() {
        var epoch = ServerEpoch()
        var now = MonotonicTime.zero + .seconds(100)
        // Seconds on our clock since the last answer, what the server's clock says, and whether it is the same one.
        let answers: [(UInt64, UInt32, Bool)] = [
            (0, 1000, true), (3600, 4600, true), (3600, 8400, true), (10, 8409, true), (0, 8408, true),
            (0, 8400, false), (10, 0, false), (1000, 500, false), (0, .max, false),
        ]
        for (elapsed, server, isSame) in answers {
            now = now + .seconds(elapsed)
            let accepted = epoch.accept(server, now: now)
            #expect(accepted == isSame, "\(server)")
        }
    }
}
