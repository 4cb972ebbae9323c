import Addressing
import TestSupport
import Testing
import Timing

@testable import Traversal

/// What an idle pair costs, and that its path is still there afterwards.
@Suite struct KeepaliveTests {
    /// Two agents behind NATs of these lifetimes, direct and then idle.
    private func idlePair(
        _ first: SimulatedNAT.Kind, _ second: SimulatedNAT.Kind, seed: UInt64
    ) throws -> PairTrial {
        var random = SeededRandom(seed: seed)
        var plans = [NATClass.eimAPDF.plan(&random), NATClass.eimAPDF.plan(&random)]
        (plans[0].chain, plans[1].chain) = ([first], [second])
        var trial = try PairTrial(plans[0], plans[1], seed: seed)
        trial.world.weather.loss = 0
        trial.learnNetworks()
        let met = try trial.meet()
        #expect(met != nil)
        trial.caller.workTarget = trial.callee.id
        trial.callee.workTarget = trial.caller.id
        trial.caller.sendData(to: trial.callee.id)
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

    @Test func `an idle pair behind NATs of 120 s costs at most 40 packets an hour, once that is learned`() throws {
        let trial = try idlePair(SimulatedNAT.Kind(), SimulatedNAT.Kind(), seed: 21)
        let start = trial.world.directDatagrams
        trial.world.run(for: .seconds(1800))
        let learning = trial.world.directDatagrams - start
        let learned = trial.world.directDatagrams
        trial.world.run(for: .seconds(3600))
        let hour = trial.world.directDatagrams - learned
        print(
            "keepalive: \(hour) packets an hour both ways behind 120 s, \(learning) in the half hour that measures;",
            "binding \(trial.caller.engine.bindingSeconds) s and \(trial.callee.engine.bindingSeconds) s; seed 21")
        #expect(trial.caller.engine.bindingSeconds == 110 && trial.callee.engine.bindingSeconds == 110)
        #expect(hour <= 40)
        expectAlive(trial)
    }

    @Test func `the side with the shorter binding sends, as often as it needs`() throws {
        let short = SimulatedNAT.Kind(unreplied: .seconds(30), replied: .seconds(40))
        let trial = try idlePair(SimulatedNAT.Kind(), short, seed: 22)
        trial.world.run(for: .seconds(1800))
        #expect(trial.callee.engine.bindingSeconds == 28 || trial.caller.engine.bindingSeconds == 28)
        var senders: Set<Int> = []
        trial.world.onDirect = { agent, _ in senders.insert(agent) }
        let before = trial.world.directDatagrams
        trial.world.run(for: .seconds(3600))
        trial.world.onDirect = nil
        #expect(senders.count == 1)
        #expect(trial.world.directDatagrams - before <= 3600 / 25 + 1)
        expectAlive(trial)
    }

    @Test func `a NAT that only outbound packets refresh is kept open by its own side too`() throws {
        let strict = SimulatedNAT.Kind(refreshesOnInbound: false)
        let trial = try idlePair(strict, strict, seed: 23)
        trial.world.run(for: .seconds(5400))
        expectAlive(trial)
    }

    @Test func `a pair that was not used for hours costs nothing`() throws {
        let trial = try idlePair(SimulatedNAT.Kind(), SimulatedNAT.Kind(), seed: 24)
        trial.world.run(for: Limits.keepsIdlePathFor + .seconds(600))
        let before = trial.world.directDatagrams
        trial.world.run(for: .seconds(3600))
        #expect(trial.world.directDatagrams == before)
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
        let before = (trial.world.directDatagrams, trial.caller.relayedProbes + trial.callee.relayedProbes)
        trial.world.run(for: .seconds(3600))
        #expect(trial.world.directDatagrams == before.0)
        #expect(trial.caller.relayedProbes + trial.callee.relayedProbes == before.1)
    }
}
