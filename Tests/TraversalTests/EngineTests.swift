import Addressing
import TestSupport
import Testing
import Timing

@testable import Traversal

/// The engine between two agents on virtual time: what does not belong to one technique.
@Suite struct EngineTests {
    private func pair(
        _ first: NATClass, _ second: NATClass, seed: UInt64, change: (inout [SimulatedAgent.Plan]) -> Void = { _ in }
    ) throws -> PairTrial {
        var random = SeededRandom(seed: seed)
        var plans = [first.plan(&random), second.plan(&random)]
        change(&plans)
        let trial = try PairTrial(plans[0], plans[1], seed: seed)
        trial.world.weather.loss = 0
        return trial
    }

    @Test func `the relay is the path until a probe is answered, and stays it when direct is blocked`() throws {
        var trial = try pair(.eimAPDF, .eimAPDF, seed: 1)
        trial.world.isDirectBlocked = true
        trial.learnNetworks()
        try trial.caller.connect(to: trial.callee)
        #expect(trial.caller.paths[trial.callee.id] == .relayed(relay: 0, trial.callee.id))
        let met = try trial.meet(within: .seconds(30))
        #expect(met == nil)
        #expect(trial.caller.paths[trial.callee.id]?.isRelayed == true)
    }

    @Test func `agents that meet before they know their NATs become direct all the same`() throws {
        let pairs: [(NATClass, NATClass)] = [
            (.eimAPDF, .eimAPDF), (.eimAPDF, .random), (.sequential, .eimAPDF), (.block, .block),
        ]
        for (first, second) in pairs {
            for seed in UInt64(0)..<20 {
                var trial = try pair(first, second, seed: seed)
                trial.world.run(for: .milliseconds(seed * 20 + 200))
                let met = try trial.meet()
                #expect(met != nil || second == .random, "\(first) \(second) seed \(seed)")
            }
        }
    }

    @Test func `both calling at once is no different`() throws {
        for seed in UInt64(0)..<40 {
            var trial = try pair(.eimAPDF, seed % 2 == 0 ? .eimAPDF : .sequential, seed: seed)
            trial.learnNetworks()
            try trial.callee.connect(to: trial.caller)
            let met = try trial.meet()
            #expect(met != nil, "seed \(seed)")
        }
    }

    @Test func `the second end is direct a round trip after the first`() throws {
        var lags: [Interval] = []
        for seed in 0..<UInt64(Trials.of(500)) {
            let trial = try pair(.eimAPDF, .eimAPDF, seed: seed) { plans in
                for index in plans.indices { plans[index].access = .milliseconds(seed % 4 + 1) }
            }
            trial.learnNetworks()
            try trial.caller.connect(to: trial.callee)
            var first: MonotonicTime?
            for _ in 0..<5000 where !trial.isDirect {
                trial.world.run(for: .milliseconds(1))
                let paths = [trial.caller.paths[trial.callee.id], trial.callee.paths[trial.caller.id]]
                if first == nil, paths.contains(where: { $0?.isRelayed == false }) { first = trial.world.now }
            }
            let both = try #require(first, "seed \(seed)") + trial.roundTrip
            lags.append(max(trial.world.now, both).since(both))
        }
        lags.sort()
        print(
            "second end direct: \(lags.count) pairs, beyond a round trip p50 \(milliseconds(lags, 0.5)),",
            "p99 \(milliseconds(lags, 0.99)), longest \(milliseconds(lags, 1))")
        #expect(percentile(lags, 1) ?? .seconds(9) <= .milliseconds(5))
    }

    @Test(arguments: [NATClass.sequential, .eimAPDF])
    func `where the relay is slower than it was, no early packet closes the way for long`(_ other: NATClass) throws {
        var (direct, times): (Int, [Interval]) = (0, [])
        let trials = Trials.of(200)
        for seed in 0..<UInt64(trials) {
            var trial = try pair(.eimAPDF, other, seed: seed) { plans in
                plans[0].chain[0].acceptsInput = true
                for index in plans.indices { plans[index].access = .milliseconds(40) }
                if seed % 2 == 0 { plans.swapAt(0, 1) }
            }
            trial.learnNetworks()
            for agent in [trial.caller, trial.callee] { agent.engine.setRelayRoundTrip(.milliseconds(4)) }
            if let met = try trial.meet(within: .seconds(20)) {
                direct += 1
                times.append(met)
            }
        }
        times.sort()
        let worst = try #require(times.last)
        print(
            "late relay: port-restricted that accepts input × \(other.rawValue): \(direct)/\(trials) direct,",
            "p50 \(times[times.count / 2].milliseconds), worst \(worst.milliseconds) ms")
        #expect(direct == trials && worst < .seconds(1))
    }

    @Test func `IPv6 is the path where both have it, whatever the NATs`() throws {
        for (number, natClass) in [NATClass.open, .eimAPDF, .random, .block].enumerated() {
            var trial = try pair(natClass, natClass, seed: UInt64(number)) { plans in
                for index in plans.indices { plans[index].hasIPv6 = true }
            }
            trial.learnNetworks()
            let met = try trial.meet()
            #expect(met != nil)
            trial.world.run(for: .seconds(2))
            guard case .direct(let socket, let remote)? = trial.caller.paths[trial.callee.id] else {
                Issue.record("\(natClass): relayed")
                continue
            }
            #expect(socket == 1 && remote.address.isIPv6)
        }
    }

    @Test func `a policy without guessing crosses what plain opening crosses, and opens no socket for more`() throws {
        var trial = try pair(.eimAPDF, .eimAPDF, seed: 3) { plans in
            for index in plans.indices { (plans[index].allowsGuessing, plans[index].extraSockets) = (false, 0) }
        }
        trial.learnNetworks()
        let met = try trial.meet()
        #expect(met != nil)
        #expect(trial.caller.mostSockets == 0 && trial.callee.mostSockets == 0)
    }

    @Test func `after a birthday the winning socket alone is left, and is the path`() throws {
        var trial = try pair(.random, .eimAPDF, seed: 5)
        trial.learnNetworks()
        let met = try trial.meet()
        #expect(met != nil)
        trial.world.run(for: .seconds(6))
        #expect(trial.caller.mostSockets >= 256)
        #expect(trial.caller.openSockets == 1)
        guard case .direct(let socket, _)? = trial.caller.paths[trial.callee.id] else {
            Issue.record("relayed")
            return
        }
        #expect(socket >= 2)
        // Data flows both ways on it.
        trial.caller.workTarget = trial.callee.id
        trial.callee.workTarget = trial.caller.id
        trial.caller.sendData(to: trial.callee.id)
        trial.callee.sendData(to: trial.caller.id)
        trial.world.run(for: .milliseconds(200))
        #expect(trial.caller.deliveries.count == 1 && trial.callee.deliveries.count == 1)
    }

    @Test func `a peer that is forgotten and added again never uses a nonce twice and becomes direct again`() throws {
        var trial = try pair(.eimAPDF, .eimAPDF, seed: 7)
        trial.caller.checksNonces = true
        trial.learnNetworks()
        _ = try trial.meet()
        for _ in 0..<5 {
            trial.caller.engine.removePeer(trial.callee.id)
            let met = try trial.meet()
            #expect(met != nil)
            trial.world.run(for: .seconds(5))
        }
        #expect(trial.caller.nonceReuses == 0)
        #expect(trial.callee.engine.counters.replayed == 0)
    }

    @Test func `candidates that change all the time do not make an agent call all the time`() throws {
        var trial = try pair(.random, .random, seed: 8)
        trial.learnNetworks()
        _ = try trial.meet(within: .seconds(1))
        let before = trial.caller.relayedProbes
        for round in 0..<300 {
            trial.caller.engine.setLocalCandidates(
                [Candidate(.host, HostileBench.place(round % 250, port: 53))], now: trial.world.now)
            trial.caller.settle()
            trial.world.run(for: .milliseconds(100))
        }
        // 30 s: ten searches, each with a call, answers and what both learn of their NATs meanwhile.
        #expect(trial.caller.relayedProbes - before <= 120)
    }

    /// Two agents behind one NAT.
    private func neighbours(_ natClass: NATClass, hairpins: Bool, isolated: Bool) throws -> PairTrial {
        var trial = try pair(natClass, .open, seed: 9) { plans in
            plans[0].chain[0].hairpins = hairpins
            (plans[1].neighbour, plans[1].isIsolated, plans[0].isIsolated) = (0, isolated, isolated)
        }
        trial.learnNetworks()
        _ = try trial.meet(within: .seconds(10))
        return trial
    }

    @Test(arguments: [NATClass.eimAPDF, .random, .eimEIF])
    func `a peer behind the same NAT is reached inside, and not by way of the NAT`(_ natClass: NATClass) throws {
        let trial = try neighbours(natClass, hairpins: true, isolated: false)
        trial.world.run(for: .seconds(3))
        guard case .direct(_, let remote)? = trial.caller.paths[trial.callee.id] else {
            Issue.record("relayed")
            return
        }
        #expect(remote.address.isPrivate)
    }

    @Test func `neighbours that can't see each other meet by a NAT that hairpins, else by the relay`() throws {
        #expect(try neighbours(.eimEIF, hairpins: true, isolated: true).isDirect)
        #expect(try !neighbours(.eimEIF, hairpins: false, isolated: true).isDirect)
    }
}
