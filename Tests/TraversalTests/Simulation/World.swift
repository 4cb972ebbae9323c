import Addressing
import STUN
import TestSupport
import Timing

@testable import Traversal

/// What travels in a simulated datagram.
enum Payload {
    /// A probe or STUN.
    case bytes([UInt8])
    /// An authenticated packet of the tunnel.
    case data(Int)
}

/// What agents and relays say to each other, in datagrams of the agent's home socket.
enum RelayTalk {
    case data(from: AgentID, to: AgentID, Payload)
    case ping(AgentID)
    case pong
    case notRegistered
    case hello(AgentID)
    case challenge
    case proof(AgentID)
    case registered
}

struct Packet {
    enum Content {
        case plain(Payload)
        case relay(RelayTalk)
    }

    var source: SimulatedAddress
    var destination: SimulatedAddress
    var hops: Int
    var size: Int
    var content: Content
}

/// A network with a virtual clock, agents behind NATs, two relays and a STUN server with two addresses and two ports:
///
///     agent ── NAT ── NAT ──┐                    ┌── relay 0, relay 1
///                           ├── network, hops ───┼── STUN
///     agent ── NAT ─────────┘                    └── agent
///
/// It loses, delays, reorders and duplicates. Everything comes from one seed.
final class World {
    struct Weather {
        var loss = 0.005
        var duplication = 0.002
        var jitter = Interval.milliseconds(2)
        /// Routers between two networks.
        var hops = 4
        /// Larger datagrams of agents to each other are lost without a word.
        var largest = Int.max
    }

    private struct Event {
        let at: MonotonicTime
        let number: UInt64
        let kind: Kind

        enum Kind {
            case arrival(Packet)
            case wake(Int, MonotonicTime)
            case relayTimer(Int)
            case workload(Int)
            case script(Int)
        }

        static func < (left: Event, right: Event) -> Bool {
            left.at == right.at ? left.number < right.number : left.at < right.at
        }
    }

    private(set) var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
    var random: SeededRandom
    var weather = Weather()
    var agents: [SimulatedAgent] = []
    var relays: [SimulatedRelay]
    let servers: [SimulatedAddress]
    /// Nothing passes between agents but by relay.
    var isDirectBlocked = false
    /// Whether the STUN server speaks RFC 5780.
    var hasOtherAddress = true
    /// Datagrams between two agents, without relays and servers.
    var directDatagrams = 0
    /// Requests to STUN servers and their answers.
    var serverDatagrams = 0
    /// Sees each datagram that leaves an agent's network for another agent or nobody.
    var onDirect: ((_ agent: Int, Packet) -> Void)?
    private var heap: [Event] = []
    private var number: UInt64 = 0
    private var scripts: [() -> Void] = []
    private var owners: [UInt64: Int] = [:]
    var isStopped = false

    static let stunAddresses: [UInt64] = [0xcb00_7101, 0xcb00_7102]

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        relays = [SimulatedRelay(0xcb00_7164), SimulatedRelay(0xcb00_7165)]
        servers = Self.stunAddresses.flatMap { address in
            [SimulatedAddress(address, 3478), SimulatedAddress(address, 3479)]
        }
    }

    // MARK: The clock

    private func schedule(_ kind: Event.Kind, at time: MonotonicTime) {
        number += 1
        heap.append(Event(at: time, number: number, kind: kind))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private func popEvent() -> Event {
        let top = heap[0]
        let last = heap.removeLast()
        guard !heap.isEmpty else { return top }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            if least == parent { return top }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    func after(_ interval: Interval, _ body: @escaping () -> Void) {
        scripts.append(body)
        schedule(.script(scripts.count - 1), at: now + interval)
    }

    /// Runs until then, or until `isStopped` is set.
    func run(for interval: Interval) {
        let end = now + interval
        isStopped = false
        while let next = heap.first, next.at <= end, !isStopped {
            let event = popEvent()
            now = max(now, event.at)
            handle(event.kind)
        }
        if !isStopped { now = max(now, end) }
    }

    private func handle(_ kind: Event.Kind) {
        switch kind {
        case .arrival(let packet): arrive(packet)
        case .wake(let index, let time): agents[index].wake(at: time)
        case .relayTimer(let index): agents[index].keepRelays()
        case .workload(let index): agents[index].work()
        case .script(let index): scripts[index]()
        }
    }

    func wake(_ agent: Int, at time: MonotonicTime) { schedule(.wake(agent, time), at: max(time, now)) }
    func relayTimer(_ agent: Int, after interval: Interval) { schedule(.relayTimer(agent), at: now + interval) }
    func workload(_ agent: Int, after interval: Interval) { schedule(.workload(agent), at: now + interval) }

    // MARK: The network

    func register(_ address: UInt64, of agent: Int) { owners[address] = agent }

    /// A packet has left an agent's networks.
    func transmit(_ packet: Packet, from agent: Int?, delay: Interval) {
        var delay = delay
        if let owner = owners[packet.destination.address] {
            if let agent {
                directDatagrams += 1
                onDirect?(agent, packet)
                if isDirectBlocked || packet.size > weather.largest { return }
            }
            delay = delay + agents[owner].access
        } else if let agent, !isInfrastructure(packet.destination.address) {
            directDatagrams += 1
            onDirect?(agent, packet)
            return
        }
        guard packet.hops > weather.hops, !random.chance(weather.loss) else { return }
        var travelling = packet
        travelling.hops -= weather.hops
        let copies = random.chance(weather.duplication) ? 2 : 1
        for _ in 0..<copies {
            let jitter = Interval.nanoseconds(random.below(weather.jitter.nanoseconds + 1))
            schedule(.arrival(travelling), at: now + delay + jitter)
        }
    }

    /// By TCP, for agents that UDP does not serve: neither lost nor translated.
    func transmitByTLS(_ talk: RelayTalk, relay: Int, from agent: Int) {
        let packet = Packet(
            source: SimulatedAddress(0, UInt16(agent)), destination: relays[relay].address, hops: 64, size: 0,
            content: .relay(talk))
        schedule(.arrival(packet), at: now + agents[agent].access)
    }

    private func isInfrastructure(_ address: UInt64) -> Bool {
        Self.stunAddresses.contains(address) || relays.contains { $0.address.address == address }
    }

    private func arrive(_ packet: Packet) {
        if let owner = owners[packet.destination.address] { return agents[owner].arrive(packet) }
        if packet.destination.address == 0, case .relay = packet.content {
            return agents[Int(packet.destination.port)].arrive(packet)
        }
        if let index = relays.firstIndex(where: { $0.address == packet.destination }) {
            return receive(packet, relay: index)
        }
        if servers.contains(packet.destination), case .plain(.bytes(let bytes)) = packet.content {
            answerSTUN(bytes, packet)
        }
    }

    // MARK: Servers

    private func answerSTUN(_ bytes: [UInt8], _ packet: Packet) {
        guard let request = try? unsafe Message(bytes.span.bytes), request.messageClass == .request else { return }
        serverDatagrams += 2
        var builder = MessageBuilder(.success, transaction: request.transaction)
        builder.appendXORMappedAddress(packet.source.endpoint)
        let address = packet.destination.address
        let other = SimulatedAddress(
            address == Self.stunAddresses[0] ? Self.stunAddresses[1] : Self.stunAddresses[0],
            packet.destination.port == 3478 ? 3479 : 3478)
        if hasOtherAddress { builder.appendAddress(.otherAddress, other.endpoint) }
        var source = packet.destination
        if let change = request.changeRequest {
            source = SimulatedAddress(
                change & 4 != 0 ? other.address : address, change & 2 != 0 ? other.port : source.port)
        }
        reply(.plain(.bytes(builder.bytes)), from: source, to: packet.source)
    }

    private func reply(_ content: Packet.Content, from source: SimulatedAddress, to target: SimulatedAddress) {
        let packet = Packet(source: source, destination: target, hops: 64, size: 0, content: content)
        if target.address == 0 {
            schedule(.arrival(packet), at: now + agents[Int(target.port)].access)
        } else {
            transmit(packet, from: nil, delay: .milliseconds(1))
        }
    }

    private func receive(_ packet: Packet, relay index: Int) {
        guard case .relay(let talk) = packet.content, relays[index].isUp else { return }
        let own = relays[index].address
        switch talk {
        case .data(let from, let to, _):
            guard relays[index].registered[from] == packet.source else {
                return reply(.relay(.notRegistered), from: own, to: packet.source)
            }
            guard let target = relays[index].registered[to] else { return }
            reply(packet.content, from: own, to: target)
        case .ping(let from):
            let isKnown = relays[index].registered[from] == packet.source
            reply(.relay(isKnown ? .pong : .notRegistered), from: own, to: packet.source)
        case .hello: reply(.relay(.challenge), from: own, to: packet.source)
        case .proof(let from):
            relays[index].registered[from] = packet.source
            reply(.relay(.registered), from: own, to: packet.source)
        case .pong, .notRegistered, .challenge, .registered: break
        }
    }
}

/// A relay: where each agent is registered, by which it is reached.
struct SimulatedRelay {
    let address: SimulatedAddress
    var isUp = true
    var registered: [AgentID: SimulatedAddress] = [:]

    init(_ address: UInt64) { self.address = SimulatedAddress(address, 443) }
}
