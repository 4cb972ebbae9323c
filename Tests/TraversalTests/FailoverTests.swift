import Addressing
import TestSupport
import Testing
import Timing

@testable import Traversal

/// How long data stands still when what carries it dies, with a packet every 20 ms in both directions.
@Suite struct FailoverTests {
    enum Fault: CaseIterable {
        /// Nothing passes between both but by relay.
        case directKilled
        /// The relay that carries the pair dies; the second is up.
        case relayKilled
        /// A NAT forgets all it knew.
        case rebooted
        /// And has another address.
        case redialled
        /// The agent is in another network.
        case roamed
    }

    @Test(
        arguments: zip(
            [Fault.directKilled, .relayKilled, .rebooted, .redialled, .roamed],
            [Interval.seconds(1), .milliseconds(1500), .seconds(2), .seconds(2), .seconds(2)]))
    func `data flows again in time`(_ fault: Fault, _ limit: Interval) throws {
        let parts = try inParallel(4) { part in
            try (0..<Trials.of(250)).map { number in
                try Self.interruption(fault, seed: SeededRandom.hash(UInt64(number), UInt64(part), 77))
            }
        }
        let gaps = parts.flatMap { $0 }
        print(
            "failover \(fault): \(gaps.count) trials, data again after p50 \(milliseconds(gaps, 0.5)),",
            "p99 \(milliseconds(gaps, 0.99)), longest \(milliseconds(gaps, 1)); seeds hash(number, part, 77)")
        #expect(percentile(gaps, 0.99) ?? .seconds(99) <= limit)
    }

    /// The longer of both directions' standstills.
    private static func interruption(_ fault: Fault, seed: UInt64) throws -> Interval {
        var random = SeededRandom(seed: seed)
        let relayed = fault == .relayKilled
        let classes: [NATClass] = relayed ? [.random] : [.eimAPDF, .eimADF, .rewritten, .open, .eimEIF]
        let first = classes[Int(random.below(UInt64(classes.count)))]
        var second = classes[Int(random.below(UInt64(classes.count)))]
        // Somebody has a NAT that can forget.
        if fault != .directKilled, !relayed { second = .eimAPDF }
        var trial = try PairTrial(first.plan(&random), second.plan(&random), seed: random.next())
        trial.world.weather.hops = Int(random.between(1, 8))
        trial.learnNetworks()
        let (caller, callee, world) = (trial.caller, trial.callee, trial.world)
        let met = try trial.meet(within: relayed ? .seconds(2) : .seconds(20))
        if !relayed, met == nil { Issue.record("not direct, seed \(seed)") }
        caller.startWork(to: callee.id)
        callee.startWork(to: caller.id)
        world.run(for: .milliseconds(random.between(1000, 3000)))
        let sent = (caller.sentSequence, callee.sentSequence)
        let at = world.now
        switch fault {
        case .directKilled: world.isDirectBlocked = true
        case .relayKilled:
            if case .relayed(let relay, _) = caller.paths[callee.id] { world.relays[Int(relay)].isUp = false }
        case .rebooted: callee.rebootNAT(external: nil)
        case .redialled: callee.rebootNAT(external: 0xc633_f000 + random.below(200))
        case .roamed: callee.roam(to: [NATClass.eimAPDF.chain(&random)[0]], seed: random.next())
        }
        var (there, back): (MonotonicTime?, MonotonicTime?) = (nil, nil)
        while there == nil || back == nil, world.now.since(at) < .seconds(12) {
            world.run(for: .milliseconds(100))
            there = there ?? callee.deliveries.first { $0.number > sent.0 }?.at
            back = back ?? caller.deliveries.first { $0.number > sent.1 }?.at
        }
        return max(there ?? .never, back ?? .never).since(at)
    }

    @Test func `a direct path that was killed is found again when it is there again`() throws {
        var trial = try PairTrial(.eimAPDF, .eimAPDF, seed: 5)
        trial.learnNetworks()
        _ = try trial.meet()
        trial.caller.startWork(to: trial.callee.id)
        trial.callee.startWork(to: trial.caller.id)
        trial.world.isDirectBlocked = true
        trial.world.run(for: .seconds(10))
        #expect(!trial.isDirect)
        trial.world.isDirectBlocked = false
        trial.world.run(for: .seconds(70))
        #expect(trial.isDirect)
    }

    @Test func `a path that carries data one way only stays, and is asked rarely`() throws {
        var trial = try PairTrial(.eimAPDF, .eimAPDF, seed: 6)
        trial.learnNetworks()
        _ = try trial.meet()
        trial.world.run(for: .seconds(5))
        trial.caller.startWork(to: trial.callee.id)
        trial.world.run(for: .seconds(1))
        let (sent, datagrams) = (trial.caller.sentSequence, trial.world.directDatagrams)
        trial.callee.workTarget = trial.caller.id
        trial.callee.workSpacing = .zero
        trial.world.run(for: .seconds(60))
        #expect(trial.isDirect)
        let probes = trial.world.directDatagrams - datagrams - (trial.caller.sentSequence - sent)
        // A ping and a pong for each quarter of a second at most.
        #expect(probes <= 60 * 10)
    }
}
