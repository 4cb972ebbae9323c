import Addressing
import STUN
import Sodium
import Testing
import Timing

@testable import Relay

/// Agents behind NATs, a relay that restarts, and a network between them that loses, delays, reorders and duplicates:
///
///     client 0 ── NAT ──┐
///     client 1 ── NAT ──┼── network ── relay
///     client 2 ── NAT ──┘
///
/// Events are handled in the order of a virtual clock; everything comes from one seed.
private final class Simulation {
    struct Agent {
        let member: Member
        var client: RelayClient
        /// What the NAT maps it to now; datagrams to an older mapping are lost.
        var mapping: Endpoint
        var delivered: Set<UInt64> = []
    }

    private enum Event {
        case toRelay([UInt8], from: Endpoint)
        case toAgent([UInt8], to: Endpoint)
        case rebind(Int)
        case relayStops
        case relayStarts
        case send(Int)
        case tick
    }

    let bench: Bench
    var agents: [Agent] = []
    private var events: [(at: MonotonicTime, event: Event)] = []
    private var nextPort: UInt16 = 20000
    private var isRelayUp = true
    private let start: MonotonicTime
    /// Faults end here; a calm of `calm` follows.
    private let calmAt: MonotonicTime
    static let faulty = Interval.seconds(60)
    static let calm = Interval.seconds(40)
    private let loss: Double
    private let sendsData: Bool
    private var sequence: UInt64 = 0
    private var sentTo: [UInt64: (from: AgentID, to: AgentID)] = [:]
    var misdelivered = 0
    var sentInCalm: [UInt64] = []
    /// The longest that an agent needed, in calm, to be registered where it is.
    private(set) var settledAfter = Interval.zero

    init(seed: UInt64) throws {
        bench = try Bench(seed: seed)
        start = bench.now
        calmAt = start + Self.faulty
        loss = Double.random(in: 0...0.35, using: &bench.random)
        sendsData = seed % 3 != 0
        for _ in 0..<3 {
            let member = try bench.member()
            let client = RelayClient(
                relay: Bench.relayEndpoint, relayID: Bench.relayID, identity: member.identity,
                credential: bench.credential(of: member), now: bench.now)
            agents.append(Agent(member: member, client: client, mapping: newMapping()))
        }
        for index in agents.indices {
            for _ in 0..<Int.random(in: 0...3, using: &bench.random) { schedule(.rebind(index), within: Self.faulty) }
            if sendsData { schedule(.send(index), within: .seconds(1)) }
        }
        if Bool.random(using: &bench.random) {
            let stop = Interval.milliseconds(.random(in: 1000...45_000, using: &bench.random))
            events.append((start + stop, .relayStops))
            let outage = Interval.milliseconds(.random(in: 100...10_000, using: &bench.random))
            events.append((start + stop + outage, .relayStarts))
        }
        events.append((start, .tick))
    }

    var isCalm: Bool { bench.now >= calmAt }

    func run() throws {
        while true {
            let due = events.indices.min { events[$0].at < events[$1].at }
            let timer = agents.indices.min { agents[$0].client.nextTimer < agents[$1].client.nextTimer }
            guard let due, let timer else { return }
            let next = min(events[due].at, agents[timer].client.nextTimer)
            guard next < calmAt + Self.calm else { return }
            bench.now = max(bench.now, next)
            if events[due].at <= agents[timer].client.nextTimer {
                let event = events[due].event
                events.swapAt(due, events.count - 1)
                events.removeLast()
                try handle(event)
            } else {
                while let step = agents[timer].client.poll(now: bench.now, using: &bench.random) { apply(step, timer) }
            }
            if isCalm, !agents.indices.allSatisfy(isSettled) { settledAfter = bench.now.since(calmAt) }
        }
    }

    /// Whether agent and relay agree that it is registered, and where.
    func isSettled(_ index: Int) -> Bool {
        let agent = agents[index]
        guard agent.client.isUp, let slot = bench.server.table.slot(of: agent.member.id) else { return false }
        let registration = bench.server.table[slot]
        return isRelayUp && registration.link == RelayLink(agent.mapping) && registration.epoch == agent.client.epoch
    }

    private func handle(_ event: Event) throws {
        switch event {
        case .toRelay(var datagram, let source):
            guard isRelayUp else { return }
            let size = datagram.count
            switch bench.receive(&datagram, from: source) {
            case .forward(let target): transmit(.toAgent(datagram, to: target.endpoint))
            case .reply(let reply):
                #expect(reply.count <= size)
                transmit(.toAgent(reply, to: source))
            case .drop: break
            }
        case .toAgent(let datagram, let target):
            guard let index = agents.firstIndex(where: { $0.mapping == target }) else { return }
            let received = unsafe agents[index].client.receive(
                datagram.span.bytes, from: Bench.relayEndpoint, now: bench.now, using: &bench.random)
            switch received {
            case .control(let step): apply(step, index)
            case .data(let source, let payload): deliver(Array(datagram[payload]), from: source, to: index)
            case .dropped: break
            }
        case .rebind(let index): agents[index].mapping = newMapping()
        case .relayStops: isRelayUp = false
        case .relayStarts:
            // Another process: nothing of the old one's state or secrets.
            bench.server = try RelayServer(
                relay: Bench.relayID, now: bench.now, using: &bench.random, verifyCredential: bench.mesh.verifier)
            isRelayUp = true
        case .send(let index):
            send(from: index)
            schedule(.send(index), within: .milliseconds(1500))
        case .tick:
            bench.server.tick(now: bench.now, using: &bench.random)
            #expect(bench.server.table.isConsistent)
            events.append((bench.now + .seconds(1), .tick))
        }
    }

    private func send(from index: Int) {
        let other = (index + Int.random(in: 1...2, using: &bench.random)) % agents.count
        let destination = agents[other].member.id
        guard let header = agents[index].client.wrapHeader(destination) else { return }
        sequence += 1
        sentTo[sequence] = (agents[index].member.id, destination)
        if agents.indices.allSatisfy(isSettled), isCalm, bench.now.since(calmAt) < Self.calm / 10 * 9 {
            sentInCalm.append(sequence)
        }
        let payload = (0..<8).map { UInt8(truncatingIfNeeded: sequence >> (56 - 8 * UInt64($0))) }
        transmit(.toRelay(header.indices.map { header[$0] } + payload, from: agents[index].mapping))
    }

    private func deliver(_ payload: [UInt8], from source: AgentID, to index: Int) {
        let sequence = payload.reduce(0) { $0 << 8 | UInt64($1) }
        let sent = sentTo[sequence]
        if sent?.from != source || sent?.to != agents[index].member.id { misdelivered += 1 }
        agents[index].delivered.insert(sequence)
    }

    private func apply(_ step: RelayClient.Step, _ index: Int) {
        if let datagram = step.send { transmit(.toRelay(datagram, from: agents[index].mapping)) }
    }

    private func transmit(_ event: Event) {
        guard isCalm || Double.random(in: 0..<1, using: &bench.random) >= loss else { return }
        let copies = !isCalm && Int.random(in: 0..<20, using: &bench.random) == 0 ? 2 : 1
        for _ in 0..<copies {
            let delay = Interval.milliseconds(.random(in: 5...(isCalm ? 80 : 400), using: &bench.random))
            events.append((bench.now + delay, event))
        }
    }

    private func schedule(_ event: Event, within span: Interval) {
        events.append((bench.now + .nanoseconds(.random(in: 0..<span.nanoseconds, using: &bench.random)), event))
    }

    private func newMapping() -> Endpoint {
        nextPort += 1
        return bench.endpoint(UInt8.random(in: 1...250, using: &bench.random), nextPort)
    }
}

@Suite struct RelaySimulationTests {
    @Test func `after loss, reordering, rebinding and restarts every client is registered again, in 500 seeds`() throws
    {
        var (slowestSilent, slowestSending) = (Interval.zero, Interval.zero)
        var delivered = 0
        for seed in 1...500 as ClosedRange<UInt64> {
            let simulation = try Simulation(seed: seed)
            try simulation.run()
            for index in simulation.agents.indices {
                #expect(simulation.isSettled(index), "seed \(seed), client \(index)")
            }
            // A silent client finds out by its next ping, at most 25 s later; one that sends, much sooner.
            let bound = seed % 3 == 0 ? Interval.seconds(30) : .seconds(12)
            #expect(simulation.settledAfter <= bound, "seed \(seed): \(simulation.settledAfter.seconds) s")
            #expect(simulation.misdelivered == 0, "seed \(seed)")
            let all = simulation.agents.reduce(into: Set()) { $0.formUnion($1.delivered) }
            let lost = simulation.sentInCalm.filter { !all.contains($0) }
            #expect(lost.isEmpty, "seed \(seed): \(lost.count) packets lost in calm")
            if seed % 3 == 0 {
                slowestSilent = max(slowestSilent, simulation.settledAfter)
            } else {
                slowestSending = max(slowestSending, simulation.settledAfter)
            }
            delivered += all.count
        }
        #expect(delivered > 50_000)
        print(
            "registered again within \(slowestSilent.seconds) s silent, \(slowestSending.seconds) s sending;",
            "\(delivered) packets delivered")
    }
}
