import TestSupport
import Testing
import Timing

@testable import Traversal

/// What an agent learns of the NAT that it is behind.
@Suite struct DiscoveryTests {
    private func discovered(_ natClass: NATClass, seed: UInt64, extraSockets: Int = 264) throws -> SimulatedAgent {
        var random = SeededRandom(seed: seed)
        var plan = natClass.plan(&random)
        plan.extraSockets = extraSockets
        let trial = try PairTrial(plan, NATClass.open.plan(&random), seed: seed)
        trial.world.weather.loss = 0.01
        trial.learnNetworks()
        return trial.caller
    }

    @Test(arguments: NATClass.allCases) func `each class is told in RFC 4787's words`(_ natClass: NATClass) throws {
        for seed in UInt64(0)..<UInt64(Trials.of(100)) {
            let agent = try discovered(natClass, seed: seed)
            let known = agent.engine.behavior
            let kind = agent.chain.last?.kind
            switch natClass {
            case .open: #expect(known.mapping == .none)
            case .blocked: #expect(known.mapping == .blocked)
            case .eimEIF, .eimADF, .eimAPDF, .rewritten, .cgn:
                #expect(known.mapping == .endpointIndependent)
                #expect(known.allocation == (kind?.allocation == .preserving ? .preserving : .rewritten))
            case .anyEIF, .anyADF:
                let isByAddress = kind?.mapping == .addressDependent
                #expect(known.mapping == (isByAddress ? .addressDependent : .addressAndPortDependent))
            case .sequential:
                if case .sequential = known.allocation {} else { Issue.record("seed \(seed): \(known)") }
            case .block:
                guard case .block(let ports) = known.allocation, case .block(let first, let size)? = kind?.allocation
                else {
                    Issue.record("seed \(seed): \(known)")
                    continue
                }
                #expect(ports.count <= 2 * Int(size))
                #expect(ports.contains(UInt16(first + size / 2)))
            case .random, .cgnRandom: #expect(known.allocation == .random)
            }
            switch kind?.filtering {
            case .endpointIndependent: #expect(known.filtering == .endpointIndependent, "seed \(seed)")
            case .addressDependent: #expect(known.filtering == .addressDependent, "seed \(seed)")
            case .addressAndPortDependent: #expect(known.filtering == .addressAndPortDependent, "seed \(seed)")
            case nil: break
            }
            if natClass == .eimAPDF { #expect(known.remapsAfterUnsolicited == kind?.acceptsInput, "seed \(seed)") }
            // All that was opened is closed again.
            #expect(agent.openSockets == 0)
        }
    }

    @Test func `without sockets beside the home sockets the mapping is known, and the filtering is not`() throws {
        let agent = try discovered(.eimAPDF, seed: 3, extraSockets: 0)
        #expect(agent.engine.behavior.mapping == .endpointIndependent)
        #expect(agent.engine.behavior.filtering == .unknown)
        #expect(agent.engine.behavior.remapsAfterUnsolicited == nil)
    }

    @Test func `a NAT that got another address is noticed at the next call`() throws {
        var trial = try PairTrial(.eimAPDF, .eimAPDF, seed: 4)
        trial.learnNetworks()
        let before = trial.caller.engine.reflexive
        trial.caller.rebootNAT(external: 0xc633_f010)
        trial.world.run(for: .seconds(40))
        let met = try trial.meet()
        #expect(met != nil)
        #expect(trial.caller.engine.reflexive != before)
    }
}
