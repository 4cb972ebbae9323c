import Addressing
import STUN
import TestSupport
import Testing
import Timing

@Suite struct BehaviorDiscoveryTests {
    static let mappings: [MappingBehavior] = [.endpointIndependent, .addressDependent, .addressAndPortDependent]
    static let classes = mappings.flatMap { mapping in
        FilteringBehavior.allCases.map { (mapping, $0) }
    }

    @Test(arguments: classes)
    func `each class of NAT is told in 60 trials of every port allocation, with loss too`(
        mapping: MappingBehavior, filtering: FilteringBehavior
    ) {
        let allocations: [NATModel.Ports] = [.sequential(1), .sequential(2), .block(64), .random]
        for seed in UInt64(1)...60 {
            for ports in allocations {
                var run = DiscoveryRun(NATModel(mapping, filtering, ports, seed: seed))
                run.loss = seed % 2 == 0 ? 5 : 0
                let behavior = run.run(seed: seed &* 77).behavior
                #expect(behavior.mapping == mapping, "seed \(seed), \(ports)")
                #expect(behavior.filtering == filtering, "seed \(seed), \(ports)")
                #expect(behavior.isTranslated == true)
                #expect(behavior.pooling == .paired)
                #expect(run.largestExcess <= 0)
                let isRight =
                    switch (ports, behavior.allocation) {
                    case (.sequential(let step), .sequential(let found)): found == step || run.loss > 0
                    case (.block, .block(let lowest, let highest)): lowest >= 30_000 && highest < 30_064
                    case (.random, .random): true
                    default: false
                    }
                #expect(isRight, "seed \(seed), \(ports): \(behavior.samples.map(\.mapped.port))")
            }
        }
    }

    @Test func `a port-preserving NAT is told as such`() {
        var run = DiscoveryRun(NATModel(.endpointIndependent, .addressAndPortDependent, .preserving))
        let behavior = run.run(seed: 1).behavior
        #expect(behavior.allocation == .preserving)
        #expect(
            "\(behavior)" == "endpoint-independent mapping, address and port-dependent filtering, port-preserving")
    }

    @Test func `it takes one round trip more than the silence of a filter, and two without one`() {
        var open = DiscoveryRun(NATModel(.endpointIndependent, .endpointIndependent, .random))
        _ = open.run(seed: 2)
        #expect(open.elapsed == .milliseconds(120))
        var filtered = DiscoveryRun(NATModel(.endpointIndependent, .addressAndPortDependent, .random))
        _ = filtered.run(seed: 2)
        #expect(filtered.elapsed == .milliseconds(80 + 1000))
    }

    @Test func `a host without a NAT is told, with its firewall`() {
        var nat = NATModel(.endpointIndependent, .addressDependent, .preserving)
        nat.translates = false
        var run = DiscoveryRun(nat)
        let behavior = run.run(seed: 3).behavior
        #expect(behavior.isTranslated == false)
        #expect(behavior.filtering == .addressDependent)
        #expect(behavior.allocation == nil)
        #expect("\(behavior)" == "no NAT, address-dependent filtering")
    }

    @Test func `without a behaviour server, servers are compared and filtering stays unknown`() throws {
        let servers = try ["192.0.2.7:3478", "192.0.2.7:3479", "192.0.2.8:3478"].map { try #require(Endpoint($0)) }
        for mapping in Self.mappings {
            var run = DiscoveryRun(NATModel(mapping, .addressAndPortDependent, .random))
            run.hasBehaviorServer = false
            run.servers = servers
            let behavior = run.run(seed: 4).behavior
            #expect(behavior.mapping == mapping)
            #expect(behavior.filtering == nil)
            #expect(behavior.samples.count == 9)
        }
        var run = DiscoveryRun(NATModel(.addressDependent, .addressAndPortDependent, .random))
        run.hasBehaviorServer = false
        run.servers = [servers[0], servers[2]]
        #expect(run.run(seed: 4).behavior.mapping == .destinationDependent)
        run.servers = [servers[0]]
        #expect(run.run(seed: 4).behavior.mapping == nil)
    }

    @Test func `servers of which one is dead do for the rest`() throws {
        var run = DiscoveryRun(NATModel(.addressAndPortDependent, .addressDependent, .random))
        run.servers = [try #require(Endpoint("192.0.2.200:1")), DiscoveryRun.a1p1]
        run.hasBehaviorServer = true
        let behavior = run.run(seed: 5).behavior
        #expect(behavior.mapping == .addressAndPortDependent)
        #expect(behavior.filtering == .addressDependent)
    }

    @Test func `where the other address never answers, its silence is not taken for a filter`() {
        var run = DiscoveryRun(NATModel(.endpointIndependent, .endpointIndependent, .random))
        run.isOtherAddressDead = true
        let behavior = run.run(seed: 6).behavior
        #expect(behavior.filtering == nil)
    }

    @Test func `blocked UDP is told after the last try`() {
        var run = DiscoveryRun(NATModel(.endpointIndependent, .endpointIndependent, .random))
        run.loss = 100
        let behavior = run.run(seed: 7).behavior
        #expect(behavior.isBlocked)
        #expect(run.elapsed == .seconds(1))
        #expect("\(behavior)" == "UDP is blocked: no STUN server answered")
    }

    @Test func `arbitrary pooling is told`() {
        var nat = NATModel(.addressDependent, .addressAndPortDependent, .random)
        nat.outer += [.v4(IPv4Address(203, 0, 113, 12))]
        var run = DiscoveryRun(nat)
        #expect(run.run(seed: 8).behavior.pooling == .arbitrary)
    }

    @Test(arguments: [
        "127.0.0.1:9", "169.254.169.254:80", "10.9.0.7:53", "224.0.0.1:9", "192.0.2.1:9", "198.51.100.1:3478",
        "[2001:db8::1]:9",
    ])
    func `no server can make us send to an address that is refused, its own, or no other at all`(text: String) throws {
        let other = try #require(Endpoint(text))
        var random = SeededRandom(seed: 9)
        var configuration = BehaviorDiscovery.Configuration()
        configuration.refusedTargets = [try #require(IPPrefix("10.9.0.0/16"))]
        let server = DiscoveryRun.a1p1
        var discovery = BehaviorDiscovery(
            servers: [server], localPorts: [40_000, 40_001], hostAddresses: [], configuration, now: .zero)
        let request = try #require(discovery.poll(now: .zero, using: &random).first)
        var builder = MessageBuilder(.success, transaction: try parse(request.datagram).transaction)
        builder.appendXORMappedAddress(server)
        builder.appendAddress(.otherAddress, other)
        let answer = builder.bytes
        #expect(unsafe discovery.receive(answer.span.bytes, from: server, socket: 0, now: .zero))
        #expect(discovery.poll(now: .zero, using: &random) == [])
        #expect(discovery.isFinished)
    }

    @Test func `answers of strangers, on the wrong socket or with another id change nothing`() throws {
        var random = SeededRandom(seed: 10)
        let server = DiscoveryRun.a1p1
        var discovery = BehaviorDiscovery(
            servers: [server], localPorts: [40_000, 40_001], hostAddresses: [], now: .zero)
        let request = try #require(discovery.poll(now: .zero, using: &random).first)
        let transaction = try parse(request.datagram).transaction
        var builder = MessageBuilder(.success, transaction: transaction)
        builder.appendXORMappedAddress(server)
        let answer = builder.bytes
        #expect(unsafe !discovery.receive(answer.span.bytes, from: DiscoveryRun.a2p2, socket: 0, now: .zero))
        #expect(unsafe !discovery.receive(answer.span.bytes, from: server, socket: 1, now: .zero))
        var error = MessageBuilder(.error, transaction: transaction)
        error.appendErrorCode(500)
        let errorBytes = error.bytes
        #expect(unsafe !discovery.receive(errorBytes.span.bytes, from: DiscoveryRun.a2p2, socket: 0, now: .zero))
        #expect(!discovery.isFinished)
        for _ in 0..<20_000 {
            let bytes = random.mutated(answer)
            guard (try? parse(bytes))?.transaction != transaction else { continue }
            #expect(unsafe !discovery.receive(bytes.span.bytes, from: server, socket: 0, now: .zero))
        }
        #expect(unsafe discovery.receive(answer.span.bytes, from: server, socket: 0, now: .zero))
    }
}

@Suite struct PortAllocationTests {
    static func samples(_ ports: [UInt16], inner: UInt16 = 5000) -> [PortSample] {
        ports.enumerated().map { index, port in
            PortSample(
                localPort: inner, destination: Endpoint(.v4(IPv4Address(192, 0, 2, UInt8(index))), port: 3478),
                mapped: Endpoint(.v4(IPv4Address(203, 0, 113, 1)), port: port))
        }
    }

    @Test func `sequences are told in both directions, past other hosts' mappings and a wrap`() {
        #expect(PortAllocation(Self.samples([100, 101, 102, 103])) == .sequential(step: 1))
        #expect(PortAllocation(Self.samples([100, 98, 96, 94, 92])) == .sequential(step: -2))
        #expect(PortAllocation(Self.samples([100, 101, 105, 106, 109])) == .sequential(step: 1))
        #expect(PortAllocation(Self.samples([254, 255, 0, 1, 2, 3].map { 20_000 + $0 })) == .sequential(step: 1))
    }

    @Test func `few samples say nothing, and one mapping seen often is one`() {
        #expect(PortAllocation(Self.samples([100, 101])) == nil)
        #expect(PortAllocation(Self.samples([40_000, 1_000, 30_000, 9])) == nil)
        #expect(PortAllocation(Self.samples([7000, 7000, 7000, 7000, 7000, 7000, 7000])) == nil)
    }

    @Test func `of 1,000 random draws none is taken for a sequence or a block, and blocks up to 1,024 are told`() {
        var random = SeededRandom(seed: 11)
        for _ in 0..<1000 {
            let wide = (0..<10).map { _ in UInt16.random(in: 1024...65535, using: &random) }
            #expect(PortAllocation(Self.samples(wide)) == .random)
            let width = [64, 256, 1024].randomElement(using: &random) ?? 64
            let narrow = (0..<10).map { _ in UInt16(20_000 + Int.random(in: 0..<width, using: &random)) }
            if case .block(let lowest, let highest)? = PortAllocation(Self.samples(narrow)) {
                #expect(lowest == narrow.min() && highest == narrow.max())
            } else {
                Issue.record("\(narrow) is \(String(describing: PortAllocation(Self.samples(narrow))))")
            }
        }
    }
}
