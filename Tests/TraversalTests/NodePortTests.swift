import Addressing
import Timing
import TestSupport
import Testing

@testable import Traversal

/// Agents whose node maps a port of its own to their home socket, and gives all others a random one.
@Suite struct NodePortTests {
    /// A node that gives each destination another port and accepts what comes to itself.
    private static func node(_ random: inout SeededRandom) -> SimulatedAgent.Plan {
        var plan = NATClass.random.plan(&random)
        plan.chain[0].acceptsInput = true
        plan.nodePort = 31007
        return plan
    }

    private static func meet(
        _ other: NATClass?, trials: Int, change: (inout SimulatedAgent.Plan) -> Void = { _ in }
    ) throws -> (times: [Interval], sprayed: Int) {
        var times: [Interval] = []
        var sprayed = 0
        for number in 0..<trials {
            var random = SeededRandom(seed: SeededRandom.hash(UInt64(number), other?.seed ?? 1, 31007))
            var plan = node(&random)
            change(&plan)
            var plans = [plan, other?.plan(&random) ?? node(&random)]
            if random.chance(0.5) { plans.swapAt(0, 1) }
            var trial = try PairTrial(plans[0], plans[1], seed: random.next())
            trial.learnNetworks()
            if let time = try trial.meet(within: .seconds(4)) { times.append(time) }
            sprayed = max(sprayed, trial.sprayed)
        }
        return (times, sprayed)
    }

    @Test(arguments: [NATClass.open, .eimEIF, .eimADF, .eimAPDF, .rewritten, .cgn, .sequential, .block, .random, nil])
    func `every pair is direct, and nothing is sprayed`(_ other: NATClass?) throws {
        let trials = Trials.of(400)
        let result = try Self.meet(other, trials: trials)
        print(
            "node-mapped × \(other?.rawValue ?? "node-mapped"): \(result.times.count)/\(trials) direct,",
            "p50 \(milliseconds(result.times, 0.5)), p99 \(milliseconds(result.times, 0.99)), sprayed \(result.sprayed)"
        )
        #expect(Double(result.times.count) >= 0.995 * Double(trials))
        #expect(result.sprayed == 0)
    }

    @Test func `behind a router that filters, a random NAT is crossed as from any port-restricted one`() throws {
        let trials = Trials.of(200)
        let result = try Self.meet(.random, trials: trials) { $0.chain.append(SimulatedNAT.Kind()) }
        print("node-mapped behind EIM+APDF × APDM random: \(result.times.count)/\(trials) direct")
        #expect(Double(result.times.count) >= 0.97 * Double(trials) - 1)
    }

    @Test func `only what servers see at the node's port is called so`() throws {
        var random = SeededRandom(seed: 5)
        for isTold in [true, false] {
            var plan = Self.node(&random)
            if !isTold { plan.toldNodePort = 31008 }
            let trial = try PairTrial(plan, NATClass.open.plan(&random), seed: 6)
            trial.learnNetworks()
            let candidates = trial.caller.engine.localCandidates.filter { $0.kind != .host }
            #expect(candidates.map(\.kind) == [isTold ? .nodeMapped : .serverReflexive])
            #expect(candidates.map(\.endpoint.port) == [31007])
            #expect(trial.caller.engine.reflexive.map(\.port) == [31007])
            #expect(trial.caller.engine.behavior.mapping == .endpointIndependent)
        }
    }
}
