import Addressing
import TestSupport
import Testing
import Timing

@testable import Traversal

/// What an idle pair costs, and that its path is still there afterwards.
@Suite struct KeepaliveTests {
    /// Two agents behind NATs of these lifetimes, direct and then idle.
    private static func idlePair(
        _ first: SimulatedNAT.Kind, _ second: SimulatedNAT.Kind, seed: UInt64, loss: Double = 0
    ) throws -> PairTrial {
        var random = SeededRandom(seed: seed)
        var plans = [NATClass.eimAPDF.plan(&random), NATClass.eimAPDF.plan(&random)]
        (plans[0].chain, plans[1].chain) = ([first], [second])
        var trial = try PairTrial(plans[0], plans[1], seed: seed)
        (trial.world.weather.loss, trial.world.weather.duplication) = (0, 0)
        trial.learnNetworks()
        let met = try trial.meet()
        #expect(met != nil)
        trial.world.weather.loss = loss
        trial.caller.workTarget = trial.callee.id
        trial.callee.workTarget = trial.caller.id
        trial.caller.sendData(to: trial.callee.id)
        // What a new path costs is not what an idle one does.
        trial.world.run(for: .seconds(10))
        return trial
    }

    /// A packet of data in both directions arrives on the direct path as it is.
    private func expectAlive(_ trial: PairTrial) {
        #expect(trial.isDirect)
        let (there, back) = (trial.callee.deliveries.count, trial.caller.deliveries.count)
        trial.caller.sendData(to: trial.callee.id)
        trial.callee.sendData(to: trial.caller.id)
        trial.world.run(for: .milliseconds(150))
        #expect(trial.callee.deliveries.count == there + 1)
        #expect(trial.caller.deliveries.count == back + 1)
    }

    /// All that the pair has sent and received: to each other, by the relay, and to STUN servers.
    private static func cost(_ trial: PairTrial) -> Int {
        trial.world.directDatagrams + trial.caller.relayedProbes + trial.callee.relayedProbes
            + trial.world.serverDatagrams
    }

    private static func kind(_ seconds: UInt64) -> SimulatedNAT.Kind {
        SimulatedNAT.Kind(unreplied: .seconds(min(seconds, 30)), replied: .seconds(seconds))
    }

    @Test(arguments: [30, 60, 120, 300] as [UInt64])
    func `an idle pair behind NATs of 120 s costs at most 40 packets in each hour, the first included`(
        _ seconds: UInt64
    ) throws {
        for loss in [0, 0.01] {
            let trials = try (0..<Trials.of(20)).map { number in
                let kind = Self.kind(seconds)
                let trial = try Self.idlePair(kind, kind, seed: 2100 + UInt64(number), loss: loss)
                var hours: [Int] = []
                // Until shortly before an unused path is given up.
                for length in [Interval.seconds(3600), .seconds(3500)] {
                    let start = Self.cost(trial)
                    trial.world.run(for: length)
                    hours.append(Self.cost(trial) - start)
                }
                if loss == 0 {
                    expectAlive(trial)
                    let known = [trial.caller, trial.callee].map { $0.engine.bindingSeconds }
                    #expect(known == [Self.learned(seconds), Self.learned(seconds)])
                }
                return hours
            }
            let (first, later) = (trials.map { $0[0] }, trials.map { $0[1] })
            print(
                "keepalive: behind \(seconds) s, loss \(loss): first hour p50 \(percentile(first, 0.5) ?? 0),",
                "most \(first.max() ?? 0) packets; second hour p50 \(percentile(later, 0.5) ?? 0), most",
                "\(later.max() ?? 0); both ways, relay and servers included; seeds from 2100")
            if seconds >= 120, loss == 0 { #expect((first + later).allSatisfy { $0 <= 40 }) }
            if seconds >= 120 { #expect(percentile(first + later, 0.5) ?? 99 <= 40) }
        }
    }

    private static func learned(_ seconds: UInt64) -> UInt16 {
        switch seconds {
        case 30: 0
        case 60: 55
        case 120: 115
        default: 240
        }
    }

    @Test func `the shorter binding of both decides`() throws {
        let trial = try Self.idlePair(Self.kind(120), Self.kind(40), seed: 22)
        trial.world.run(for: .seconds(1800))
        let known = [trial.caller, trial.callee].map { $0.engine.bindingSeconds }
        #expect(known.sorted() == [0, 115])
        let before = trial.world.directDatagrams
        trial.world.run(for: .seconds(3600))
        // What did not hold is tried once more.
        #expect(trial.world.directDatagrams - before <= 3600 / 25 + 6)
        expectAlive(trial)
    }

    @Test func `a NAT that only outbound packets refresh is kept open, because both ends send`() throws {
        let strict = SimulatedNAT.Kind(refreshesOnInbound: false)
        let trial = try Self.idlePair(strict, strict, seed: 23)
        trial.world.run(for: .seconds(3600))
        let before = Self.cost(trial)
        trial.world.run(for: .seconds(1800))
        // Each end has to send in time.
        #expect(Self.cost(trial) - before <= 40)
        expectAlive(trial)
    }

    @Test func `a NAT whose port a keepalive that came too late takes away is found again`() throws {
        let accepting = SimulatedNAT.Kind(acceptsInput: true)
        for seed in UInt64(40)..<60 {
            let trial = try Self.idlePair(accepting, accepting, seed: seed)
            let start = Self.cost(trial)
            trial.world.run(for: .seconds(3600))
            #expect(Self.cost(trial) - start <= 42, "seed \(seed)")
            #expect(trial.caller.engine.bindingSeconds == 115)
            expectAlive(trial)
        }
    }

    // MARK: Data while it is learned

    /// Sends every 20 ms both ways from now on; how long each way stood still, and what was lost of all that was sent in 3 s.
    private static func interruption(_ trial: PairTrial) -> (gap: Interval, lost: Int) {
        let (caller, callee, world) = (trial.caller, trial.callee, trial.world)
        let before = (caller.deliveries.count, callee.deliveries.count)
        let sent = (caller.sentSequence, callee.sentSequence)
        let at = world.now
        caller.startWork(to: callee.id)
        callee.startWork(to: caller.id)
        world.run(for: .seconds(3))
        (caller.workSpacing, callee.workSpacing) = (.zero, .zero)
        world.run(for: .seconds(1))
        let arrived = (caller.deliveries.count - before.0, callee.deliveries.count - before.1)
        let first = [caller, callee].map { agent in
            agent.deliveries.first { $0.at > at }.map { $0.at.since(at) } ?? .seconds(99)
        }
        let count = caller.sentSequence - sent.0 + callee.sentSequence - sent.1
        return (first.max() ?? .zero, count - arrived.0 - arrived.1)
    }

    @Test(arguments: [30, 60, 120] as [UInt64])
    func `whenever there is data while a lifetime is being learned, none of it is lost`(_ seconds: UInt64) throws {
        let results = try inParallel(Trials.of(200)) { number in
            var random = SeededRandom(seed: SeededRandom.hash(UInt64(number), seconds))
            var kind = Self.kind(seconds)
            kind.acceptsInput = random.chance(0.3)
            let trial = try Self.idlePair(kind, kind, seed: random.next())
            trial.world.run(for: .seconds(5 + random.below(1800)))
            let result = Self.interruption(trial)
            // And the direct path is in use again.
            if !trial.isDirect { Issue.record("relayed, number \(number)") }
            return result
        }
        let gaps = results.map(\.gap)
        print(
            "keepalive: data in the first half hour behind \(seconds) s: \(gaps.count) trials, first packet after p50",
            "\(milliseconds(gaps, 0.5)), longest \(milliseconds(gaps, 1)),",
            "lost \(results.reduce(0) { $0 + $1.lost })")
        #expect(gaps.max() ?? .seconds(9) <= .milliseconds(250))
        #expect(results.allSatisfy { $0.lost == 0 })
    }

    @Test func `when a binding lasts less than was learned data flows within 1 s, and the spacing follows`() throws {
        let results = try inParallel(Trials.of(200)) { number in
            var random = SeededRandom(seed: SeededRandom.hash(UInt64(number), 41))
            let trial = try Self.idlePair(Self.kind(120), Self.kind(120), seed: random.next())
            trial.world.run(for: .seconds(1200))
            for agent in [trial.caller, trial.callee] { agent.chain[0].kind.replied = .seconds(40) }
            trial.world.run(for: .seconds(130 + random.below(110)))
            let gap = Self.interruption(trial).gap
            trial.world.run(for: .seconds(3000))
            let delivered = (trial.caller.deliveries.count, trial.callee.deliveries.count)
            trial.caller.sendData(to: trial.callee.id)
            trial.callee.sendData(to: trial.caller.id)
            trial.world.run(for: .milliseconds(300))
            let arrived = trial.caller.deliveries.count - delivered.0 + trial.callee.deliveries.count - delivered.1
            let known = [trial.caller, trial.callee].map { $0.engine.bindingSeconds }.min() ?? 0
            return (gap: gap, known: known, arrived: arrived)
        }
        let gaps = results.map(\.gap)
        print(
            "keepalive: binding of 120 s becomes one of 40 s: \(gaps.count) trials, data after p50",
            "\(milliseconds(gaps, 0.5)), longest \(milliseconds(gaps, 1));",
            "\(results.count { $0.known <= 28 }) followed")
        #expect(gaps.max() ?? .seconds(9) <= .seconds(1))
        #expect(results.allSatisfy { $0.arrived == 2 })
        #expect(results.allSatisfy { $0.known <= 28 })
    }

    // MARK: Unused

    @Test func `a pair that was not used for hours costs nothing`() throws {
        let trial = try Self.idlePair(SimulatedNAT.Kind(), SimulatedNAT.Kind(), seed: 24)
        trial.world.run(for: Limits.keepsIdlePathFor + .seconds(600))
        let before = Self.cost(trial)
        trial.world.run(for: .seconds(3600))
        #expect(Self.cost(trial) == before)
        #expect(!trial.isDirect)
        // And the next packet finds a path again.
        trial.caller.sendData(to: trial.callee.id)
        trial.world.run(for: .seconds(5))
        #expect(trial.isDirect)
    }

    @Test func `a relayed pair that is not used is not called`() throws {
        var trial = try PairTrial(.random, .random, seed: 25)
        trial.learnNetworks()
        _ = try trial.meet(within: .seconds(5))
        trial.world.run(for: Limits.activeWithin + .seconds(400))
        let before = Self.cost(trial)
        trial.world.run(for: .seconds(3600))
        #expect(Self.cost(trial) == before)
    }
}
