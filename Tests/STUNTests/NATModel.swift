import Addressing
import STUN
import TestSupport
import Timing

/// A NAT on virtual time with one inner host: how it maps, filters and chooses ports is given.
struct NATModel {
    enum Ports: Equatable {
        case preserving, sequential(Int), block(Int), random
    }

    var mapping: MappingBehavior
    var filtering: FilteringBehavior
    var ports: Ports
    /// Without translation it is a firewall.
    var translates = true
    /// The outer addresses, chosen by destination where there are several.
    var outer = [IPAddress.v4(IPv4Address(203, 0, 113, 11))]
    var random: SeededRandom

    private struct Key: Hashable {
        var inner: Endpoint
        var address: IPAddress?
        var port: UInt16?
    }
    private struct Binding {
        var inner: Endpoint
        var contacted: Set<Endpoint> = []
    }
    private var outerByKey: [Key: Endpoint] = [:]
    private var bindings: [Endpoint: Binding] = [:]
    private var nextPort = 20_000

    init(
        _ mapping: MappingBehavior, _ filtering: FilteringBehavior, _ ports: Ports, seed: UInt64 = 1
    ) {
        (self.mapping, self.filtering, self.ports) = (mapping, filtering, ports)
        random = SeededRandom(seed: seed)
    }

    /// The outer endpoint that a packet from `inner` to `destination` leaves from.
    mutating func send(from inner: Endpoint, to destination: Endpoint) -> Endpoint {
        var key = Key(inner: inner)
        if mapping != .endpointIndependent { key.address = destination.address }
        if mapping == .addressAndPortDependent { key.port = destination.port }
        let outer = outerByKey[key] ?? allocate(for: inner, to: destination)
        outerByKey[key] = outer
        bindings[outer, default: Binding(inner: inner)].contacted.insert(destination)
        return outer
    }

    /// Where a packet from `source` to the outer endpoint goes; nil when it is filtered.
    func receive(at outer: Endpoint, from source: Endpoint) -> Endpoint? {
        guard let binding = bindings[outer] else { return nil }
        let passes =
            switch filtering {
            case .endpointIndependent: true
            case .addressDependent: binding.contacted.contains { $0.address == source.address }
            case .addressAndPortDependent: binding.contacted.contains(source)
            }
        return passes ? binding.inner : nil
    }

    private mutating func allocate(for inner: Endpoint, to destination: Endpoint) -> Endpoint {
        if !translates { return inner }
        let address = outer[Int(destination.address.bytes.last ?? 0) % outer.count]
        while true {
            let port: UInt16
            switch ports {
            case .preserving: port = inner.port
            case .sequential(let step):
                port = UInt16(nextPort)
                nextPort += step
            case .block(let size): port = UInt16(30_000 + Int.random(in: 0..<size, using: &random))
            case .random: port = UInt16.random(in: 1024...65535, using: &random)
            }
            let endpoint = Endpoint(address, port: port)
            if bindings[endpoint] == nil || ports == .preserving { return endpoint }
        }
    }
}

/// A discovery behind a NAT, with servers outside, until it is over.
struct DiscoveryRun {
    static let host = IPAddress.v4(IPv4Address(10, 1, 0, 2))
    static let a1p1 = Endpoint(.v4(IPv4Address(192, 0, 2, 1)), port: 3478)
    static let a2p2 = Endpoint(.v4(IPv4Address(192, 0, 2, 2)), port: 3479)

    var nat: NATModel
    var oneWay = Interval.milliseconds(20)
    /// Lost in each direction, of 100.
    var loss = 0
    var configuration = BehaviorDiscovery.Configuration()
    /// Servers without another address; the behaviour server counts only if it is asked.
    var servers = [a1p1]
    var hasBehaviorServer = true
    /// What the second address of the behaviour server does not answer.
    var isOtherAddressDead = false
    private(set) var elapsed = Interval.zero
    private(set) var sent: [BehaviorDiscovery.Send] = []
    private(set) var largestExcess = 0

    init(_ nat: NATModel) { self.nat = nat }

    mutating func run(seed: UInt64, sockets: Int = 8) -> BehaviorDiscovery {
        var random = SeededRandom(seed: seed)
        let start = MonotonicTime.zero + .seconds(1)
        var now = start
        let ports = (0..<sockets).map { UInt16(40_000 + 37 * $0) }
        var discovery = BehaviorDiscovery(
            servers: servers, localPorts: ports, hostAddresses: [Self.host], configuration, now: now)
        var behavior = BehaviorServer(primary: Self.a1p1, other: Self.a2p2, now: now, using: &random)
        var configuration = BindingServer.Configuration()
        configuration.excess = .init()
        var plain = BindingServer(configuration, now: now, using: &random)
        var arriving: [(at: MonotonicTime, bytes: [UInt8], from: Endpoint, socket: Int)] = []
        while !discovery.isFinished {
            for send in discovery.poll(now: now, using: &random) {
                sent.append(send)
                let inner = Endpoint(Self.host, port: ports[send.socket])
                let outer = nat.send(from: inner, to: send.destination)
                if Int.random(in: 0..<100, using: &random) < loss { continue }
                var answer: (bytes: [UInt8], from: Endpoint)?
                let side = BehaviorServer.Side.allCases.first { behavior?.endpoint(of: $0) == send.destination }
                if hasBehaviorServer, let side {
                    if case .send(let bytes, let from, _)? = unsafe behavior?.receive(
                        send.datagram.span.bytes, at: side, from: outer, now: now)
                    {
                        if isOtherAddressDead, from.hasOtherAddress || side.hasOtherAddress { continue }
                        answer = behavior.map { (bytes, $0.endpoint(of: from)) }
                    }
                } else if case .reply(let bytes) = unsafe plain.receive(
                    send.datagram.span.bytes, from: outer, now: now)
                {
                    answer = (bytes, send.destination)
                }
                guard let answer else { continue }
                largestExcess = max(largestExcess, answer.bytes.count - send.datagram.count)
                guard let target = nat.receive(at: outer, from: answer.from),
                    Int.random(in: 0..<100, using: &random) >= loss, let socket = ports.firstIndex(of: target.port)
                else { continue }
                arriving.append((now + oneWay + oneWay, answer.bytes, answer.from, socket))
            }
            if discovery.isFinished { break }
            now = min(discovery.nextTimer, arriving.map(\.at).min() ?? .never)
            for packet in arriving where packet.at <= now {
                unsafe discovery.receive(packet.bytes.span.bytes, from: packet.from, socket: packet.socket, now: now)
            }
            arriving.removeAll { $0.at <= now }
        }
        elapsed = now.since(start)
        return discovery
    }
}
