import Addressing
import DNS
import Synchronization
import TestSupport
import Testing
import Timing

@Suite struct ResolverTests {
    static let client = Resolver.Client.datagram(socket: 0, from: Endpoint(.v4(IPv4Address(127, 0, 0, 1)), port: 999))
    static let servers = ["10.0.0.1:53", "10.0.0.2:53"].compactMap { Endpoint($0) }
    static let web = MeshHost(
        name: "web-0.default", addresses: ["fd77:6172:7265:1::7", "100.96.1.7"].compactMap { IPAddress($0) },
        services: [.init(.init(name: "http", transport: "tcp"), number: 8080)])
    static let until = MonotonicTime.ms(3_600_000)

    func resolver(_ servers: [Endpoint] = servers, isConnected: Bool = true) -> Resolver {
        let ids = Mutex<UInt16>(100)
        let ranges = ["fd77:6172:7265::/48", "100.96.0.0/16"].compactMap { IPPrefix($0) }
        var resolver = Resolver(
            zone: MeshZone(domain: DomainName("demo.warren.internal") ?? .root, ranges: ranges), upstreams: servers,
            now: .ms(0),
            random: {
                ids.withLock {
                    $0 += 1; return $0
                }
            })
        resolver.isConnected = isConnected
        return resolver
    }

    /// Asks, lets the directory say `outcome` if it is asked, and returns the answer.
    func ask(
        _ resolver: inout Resolver, _ name: String, _ type: RecordType = .a, _ outcome: MeshOutcome? = nil,
        at now: MonotonicTime = .ms(0)
    ) throws -> Parsed {
        resolver.receive(Wire.query(name, type, udpSize: 1232), from: Self.client, now: now)
        var actions = resolver.takeActions()
        if let outcome, let key = actions.compactMap(\.lookedUp).first {
            resolver.resolved(key, outcome, now: now)
            actions = resolver.takeActions()
        }
        return try Parsed(#require(actions.compactMap(\.answered).first))
    }

    // MARK: Names of the mesh

    @Test func `an agent's name leads to its addresses of the family that is asked for`() throws {
        var resolver = resolver()
        let name = "web-0.default.demo.warren.internal"
        let found = MeshOutcome.hosts([Self.web], until: Self.until)
        #expect(try ask(&resolver, name, .aaaa, found).addresses.map(\.description) == ["fd77:6172:7265:1::7"])
        // From the cache, without another lookup.
        #expect(try ask(&resolver, name, .a).addresses.map(\.description) == ["100.96.1.7"])
        let other = try ask(&resolver, name, RecordType(rawValue: 16))
        #expect(other.header.code == .noError)
        #expect(other.records[0].isEmpty)
        #expect(other.records[1].map(\.head.type) == [.soa])
        #expect(resolver.counters.mesh == 3)
    }

    @Test func `nobody's name is NXDOMAIN with the zone's SOA, and asked again soon`() throws {
        var resolver = resolver()
        let answer = try ask(&resolver, "no.default.demo.warren.internal", .a, .nobody)
        #expect(answer.header.code == .nameError)
        #expect(answer.records[1].first?.head.name.description == "demo.warren.internal")
        #expect(answer.records[1].first?.head.ttl == 2)
        resolver.receive(Wire.query("no.default.demo.warren.internal"), from: Self.client, now: .ms(1999))
        #expect(resolver.takeActions().compactMap(\.lookedUp).isEmpty)
        resolver.receive(Wire.query("no.default.demo.warren.internal"), from: Self.client, now: .ms(2000))
        #expect(resolver.takeActions().compactMap(\.lookedUp) == [.agent("no.default")])
    }

    @Test func `reverse names inside the mesh are the directory's, others the upstream's`() throws {
        var resolver = resolver()
        let address = try #require(IPAddress("fd77:6172:7265:1::7"))
        let answer = try ask(
            &resolver, ReverseName.name(of: address).description, .ptr, .hosts([Self.web], until: Self.until))
        #expect(answer.records[0].map(\.data) == [DomainName("web-0.default.demo.warren.internal")?.wire])
        resolver.receive(Wire.query("1.0.0.10.in-addr.arpa", .ptr), from: Self.client, now: .ms(1))
        #expect(resolver.takeActions().compactMap(\.sent).map(\.to) == [Self.servers[0]])
    }

    @Test func `a service leads to its port and its agent's addresses`() throws {
        var resolver = resolver()
        let found = MeshOutcome.hosts([Self.web], until: Self.until)
        let answer = try ask(&resolver, "_http._tcp.web-0.default.demo.warren.internal", .srv, found)
        let target = try #require(DomainName("web-0.default.demo.warren.internal"))
        #expect(answer.records[0].map(\.data) == [[0, 0, 0, 0, 0x1f, 0x90] + target.wire])
        #expect(answer.records[2].map(\.head.type) == [.aaaa, .a, .opt])
        #expect(try ask(&resolver, "_ftp._tcp.web-0.default.demo.warren.internal", .srv).header.code == .nameError)
    }

    @Test func `a group's members take turns, sixteen at most`() throws {
        var resolver = resolver()
        let hosts = (1...20).map {
            MeshHost(name: "m-\($0).default", addresses: [.v6(IPv6Address(high: 0xfd77_6172_7265_0001, low: $0))])
        }
        let name = "m.default.group.demo.warren.internal"
        let first = try ask(&resolver, name, .aaaa, .hosts(hosts, until: Self.until))
        let second = try ask(&resolver, name, .aaaa)
        #expect(first.addresses.count == 16)
        #expect(Set(first.addresses).count == 16)
        #expect(first.addresses.first != second.addresses.first)
    }

    @Test func `what does not fit into a datagram comes by TCP`() throws {
        var resolver = resolver()
        let hosts = (1...16).map { MeshHost(name: "m", addresses: [.v6(IPv6Address(high: 1 << 60, low: $0))]) }
        resolver.receive(
            Wire.query("a-rather-long-name.d.group.demo.warren.internal", .aaaa), from: Self.client, now: .ms(0))
        resolver.resolved(.group("a-rather-long-name.d"), .hosts(hosts, until: Self.until), now: .ms(0))
        let datagram = try Parsed(#require(resolver.takeActions().compactMap(\.answered).first))
        #expect(datagram.header.isTruncated)
        resolver.receive(
            Wire.query("a-rather-long-name.d.group.demo.warren.internal", .aaaa), from: .stream(1), now: .ms(0))
        let stream = try Parsed(#require(resolver.takeActions().compactMap(\.answered).first))
        #expect(!stream.header.isTruncated)
        #expect(stream.addresses.count == 16)
    }

    @Test func `while the directory is away, known names are answered and others SERVFAIL`() throws {
        var resolver = resolver()
        let name = "web-0.default.demo.warren.internal"
        _ = try ask(&resolver, name, .aaaa, .hosts([Self.web], until: Self.until))
        resolver.isConnected = false
        #expect(try ask(&resolver, name, .aaaa, at: .ms(60_000)).addresses.count == 1)
        #expect(resolver.counters.stale == 1)
        // But not past the end of its credential.
        let after = try ask(&resolver, name, .aaaa, .failed, at: .ms(3_600_001))
        #expect(after.header.code == .serverFailure)
        #expect(try ask(&resolver, "x.default.demo.warren.internal", .a, .failed).header.code == .serverFailure)
        // What a search list makes of an outside name does not end the search.
        #expect(try ask(&resolver, "api.example.com.demo.warren.internal").header.code == .nameError)
    }

    @Test func `a record that does not verify is SERVFAIL, and not tried again at once`() throws {
        var resolver = resolver()
        _ = try ask(&resolver, "web.d.demo.warren.internal", .a, .hosts([Self.web], until: Self.until))
        resolver.updated(.agent("web.d"), .invalid, now: .ms(0))
        #expect(try ask(&resolver, "web.d.demo.warren.internal").header.code == .serverFailure)
        #expect(try ask(&resolver, "x.d.demo.warren.internal", .a, .invalid).header.code == .serverFailure)
        resolver.receive(Wire.query("web.d.demo.warren.internal"), from: Self.client, now: .ms(500))
        #expect(resolver.takeActions().compactMap(\.lookedUp).isEmpty)
        resolver.receive(Wire.query("web.d.demo.warren.internal"), from: Self.client, now: .ms(1001))
        #expect(resolver.takeActions().compactMap(\.lookedUp).count == 1)
    }

    @Test func `a directory that does not answer is waited for, once for all who ask`() throws {
        var resolver = resolver()
        for id: UInt16 in 1...3 {
            resolver.receive(Wire.query("web.d.demo.warren.internal", id: id), from: Self.client, now: .ms(0))
        }
        #expect(resolver.takeActions().compactMap(\.lookedUp).count == 1)
        #expect(resolver.nextDeadline == .ms(1500))
        resolver.tick(now: .ms(1499))
        #expect(resolver.takeActions().isEmpty)
        resolver.tick(now: .ms(1500))
        let answers = try resolver.takeActions().compactMap(\.answered).map { try Parsed($0) }
        #expect(answers.map(\.header.id) == [1, 2, 3])
        #expect(answers.allSatisfy { $0.header.code == .serverFailure })
        // Late, but not for nothing.
        resolver.resolved(.agent("web.d"), .hosts([Self.web], until: Self.until), now: .ms(1600))
        #expect(try ask(&resolver, "web.d.demo.warren.internal", at: .ms(1600)).addresses.count == 1)
    }

    @Test func `names without end neither fill the memory nor keep the directory busy`() throws {
        var resolver = resolver()
        var lookups = 0
        for index in 0..<20_000 {
            let now = MonotonicTime.ms(UInt64(index) / 10)
            resolver.receive(Wire.query("n\(index).d.demo.warren.internal"), from: Self.client, now: now)
            for key in resolver.takeActions().compactMap(\.lookedUp) {
                lookups += 1
                resolver.resolved(key, .nobody, now: now)
            }
            #expect(resolver.takeActions().count <= 1)
        }
        #expect(lookups <= 256 + 64 * 2 + 1)
    }

    @Test func `the cache keeps those that lead somewhere`() {
        var cache = MeshCache()
        for index in 0..<1000 { cache.note(.agent("a\(index)"), .hosts([Self.web], until: Self.until), now: .ms(0)) }
        for index in 0..<100_000 { cache.note(.agent("n\(index)"), .nobody, now: .ms(UInt64(index))) }
        #expect(cache.count <= MeshCache.entryLimit)
        #expect((0..<1000).count { cache.isKept(.agent("a\($0)")) } > 990)
    }

    @Test func `an update counts for names that were asked for`() throws {
        var resolver = resolver()
        let name = "web-0.default.demo.warren.internal"
        _ = try ask(&resolver, name, .a, .hosts([Self.web], until: Self.until))
        let moved = MeshHost(name: "web-0.default", addresses: [.v4(IPv4Address(100, 96, 2, 2))])
        resolver.updated(.agent("web-0.default"), .hosts([moved], until: Self.until), now: .ms(1))
        #expect(try ask(&resolver, name, at: .ms(1)).addresses.map(\.description) == ["100.96.2.2"])
    }

    // MARK: All else

    @Test func `what is not the mesh's is passed on and back byte for byte but the id`() throws {
        var resolver = resolver()
        let query = Wire.query("API.default.svc.cluster.local", id: 0x5555, udpSize: 4096) + [1, 2, 3]
        resolver.receive(query, from: Self.client, now: .ms(0))
        let sent = try #require(resolver.takeActions().compactMap(\.sent).first)
        #expect(sent.bytes[0...1] == [0, 101])
        #expect(sent.bytes[2...] == query[2...])
        let answer = Wire.answer(to: sent.bytes, records: [[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 1, 2, 3, 4]]) + [9]
        resolver.received(answer, attempt: sent.attempt, now: .ms(1))
        let back = resolver.takeActions()
        #expect(back == [.answer(Self.client, [0x55, 0x55] + answer[2...]), .close(attempt: sent.attempt)])
        #expect(resolver.counters.forwarded == 1)
        resolver.received(answer, attempt: sent.attempt, now: .ms(1))
        #expect(resolver.takeActions().isEmpty)
    }

    @Test func `a forged answer changes nothing`() throws {
        var resolver = resolver()
        resolver.receive(Wire.query("a.example"), from: Self.client, now: .ms(0))
        let sent = try #require(resolver.takeActions().compactMap(\.sent).first)
        for forged in [
            Wire.answer(to: sent.bytes, id: 7), Wire.answer(to: Wire.query("b.example", id: 101)), sent.bytes, [],
        ] {
            resolver.received(forged, attempt: sent.attempt, now: .ms(1))
            #expect(resolver.takeActions().isEmpty)
        }
        #expect(resolver.counters.foreignAnswers == 4)
        resolver.received(Wire.answer(to: sent.bytes), attempt: sent.attempt, now: .ms(2))
        #expect(resolver.takeActions().count == 2)
    }

    @Test func `a silent server's turn goes to the next, and the first answer wins`() throws {
        var resolver = resolver()
        resolver.receive(Wire.query("a.example"), from: Self.client, now: .ms(0))
        let first = try #require(resolver.takeActions().compactMap(\.sent).first)
        resolver.tick(now: .ms(1500))
        let second = try #require(resolver.takeActions().compactMap(\.sent).first)
        #expect([first.to, second.to] == Self.servers)
        #expect(first.bytes[0...1] != second.bytes[0...1])
        resolver.received(Wire.answer(to: first.bytes), attempt: first.attempt, now: .ms(1600))
        #expect(resolver.takeActions().count == 3)
        resolver.tick(now: .ms(9000))
        #expect(resolver.takeActions().isEmpty)
    }

    @Test func `with no server up, answers are SERVFAIL at once, and one query a second looks`() throws {
        var resolver = resolver([Self.servers[0]])
        var now: UInt64 = 0
        resolver.receive(Wire.query("a.example"), from: Self.client, now: .ms(now))
        // Refused: the next turn is at once, to the same server where there is no other.
        while let sent = resolver.takeActions().compactMap(\.sent).first {
            now += 1
            resolver.failed(attempt: sent.attempt, now: .ms(now))
        }
        _ = resolver.takeActions()
        #expect(resolver.upstreamsDown)
        var (probes, failures) = (0, 0)
        for _ in 0..<3000 {
            now += 1
            resolver.receive(Wire.query("a.example"), from: Self.client, now: .ms(now))
            let actions = resolver.takeActions()
            probes += actions.compactMap(\.sent).count
            failures += actions.compactMap(\.answered).count
        }
        #expect((2...4).contains(probes))
        #expect(failures >= 2990)
        // The next probe that is answered ends it.
        resolver.receive(Wire.query("a.example"), from: Self.client, now: .ms(now + 1000))
        let probe = try #require(resolver.takeActions().compactMap(\.sent).last)
        resolver.received(Wire.answer(to: probe.bytes), attempt: probe.attempt, now: .ms(now + 1001))
        #expect(!resolver.upstreamsDown)
    }

    @Test func `without any server, other names are SERVFAIL and the mesh's are answered`() throws {
        var resolver = resolver([])
        #expect(try ask(&resolver, "a.example").header.code == .serverFailure)
        let found = MeshOutcome.hosts([Self.web], until: Self.until)
        #expect(try ask(&resolver, "web-0.default.demo.warren.internal", .a, found).addresses.count == 1)
    }

    @Test func `queries on their way have a limit, and every one of them an end`() throws {
        var resolver = resolver()
        var (sent, refused) = (0, 0)
        for id in 0..<UInt16(1000) {
            resolver.receive(Wire.query("a.example", id: id), from: Self.client, now: .ms(0))
            let actions = resolver.takeActions()
            sent += actions.compactMap(\.sent).count
            refused += actions.compactMap(\.answered).count
        }
        #expect(sent == Resolver.forwardLimit)
        #expect(refused == 1000 - Resolver.forwardLimit)
        var answered = 0
        for now in stride(from: UInt64(0), to: 10_000, by: 100) {
            resolver.tick(now: .ms(now))
            answered += resolver.takeActions().compactMap(\.answered).count
        }
        #expect(answered == Resolver.forwardLimit)
        #expect(resolver.nextDeadline == .never)
    }

    @Test(arguments: 1...3) func `whatever comes, each query gets at most one answer`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var resolver = resolver()
        var (asked, answered, open) = (0, 0, [UInt32: [UInt8]]())
        for step in 0..<20_000 {
            let now = MonotonicTime.ms(UInt64(step))
            switch Int.random(in: 0..<8, using: &random) {
            case 0...2:
                let names = [
                    "a.example", "w.d.demo.warren.internal", "g.d.group.demo.warren.internal", "x.y.z.w.example",
                ]
                var bytes = Wire.query(names[Int.random(in: 0..<4, using: &random)], udpSize: 1232)
                if Bool.random(using: &random) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
                asked += 1
                resolver.receive(bytes, from: Bool.random(using: &random) ? Self.client : .stream(1), now: now)
            case 3...4:
                guard let (attempt, bytes) = open.randomElement(using: &random) else { continue }
                resolver.received(Wire.answer(to: bytes), attempt: attempt, now: now)
            case 5:
                guard let attempt = open.keys.randomElement(using: &random) else { continue }
                resolver.failed(attempt: attempt, now: now)
            case 6: resolver.isConnected.toggle()
            default: resolver.tick(now: now)
            }
            for action in resolver.takeActions() {
                switch action {
                case .answer(_, let bytes):
                    answered += 1
                    #expect(bytes.count >= 12)
                case .send(let attempt, _, let bytes, _): open[attempt] = bytes
                case .close(let attempt): open[attempt] = nil
                case .lookUp(let key):
                    let outcomes: [MeshOutcome] = [.nobody, .failed, .hosts([Self.web], until: now + .seconds(40))]
                    resolver.resolved(key, outcomes[Int.random(in: 0..<3, using: &random)], now: now)
                    answered += resolver.takeActions().compactMap(\.answered).count
                }
            }
        }
        for step in 0..<10 { resolver.tick(now: .ms(30_000 + UInt64(step) * 1500)) }
        answered += resolver.takeActions().compactMap(\.answered).count
        #expect(answered + Int(resolver.counters.dropped) == asked)
    }
}
