import TestSupport
import Testing
import Timing

/// Every cell of the pair table of NAT classes, on virtual time: who becomes direct, how often, and how fast.
@Suite struct PairTableTests {
    @Test func `every pair of NAT classes that can be crossed is crossed`() throws {
        let cells = try Cell.table(NATClass.table) { way in way == .relay ? 30 : 1000 }
        for cell in cells { print("pair table:", cell.line) }
        for cell in cells {
            switch cell.way {
            case .simple, .predicted: #expect(cell.rate >= 0.99, "\(cell.line)")
            case .birthday, .birthdayInBlocks: #expect(cell.rate >= 0.97, "\(cell.line)")
            case .relay: #expect(cell.direct == 0, "\(cell.line)")
            }
        }
        let easy = cells.filter { $0.way == .simple }
        let times = easy.flatMap(\.times)
        let roundTrips = easy.flatMap(\.roundTrips)
        let median = percentile(roundTrips, 0.5) ?? .infinity
        print(
            "pair table: \(times.count) easy pairs direct after p50 \(rounded(median)) round trips,",
            "p50 \(milliseconds(times, 0.5)), p99 \(milliseconds(times, 0.99))")
        #expect(median <= 1.5)
        #expect(percentile(times, 0.99) ?? .seconds(9) <= .milliseconds(500))
    }

    @Test func `random ports against port-restricted take at most 1,100 probes and 1.5 s`() throws {
        let cells = try inParallel(4) { part in
            let trials = Trials.of(500)
            return try (0..<trials).map { number in
                let seed = SeededRandom.hash(UInt64(number), UInt64(part), 64)
                var trial = try PairTrial(.random, part % 2 == 0 ? .eimAPDF : .rewritten, seed: seed)
                trial.learnNetworks()
                return (time: try trial.meet(), probes: trial.sprayed)
            }
        }
        let trials = cells.flatMap { $0 }
        let times = trials.compactMap(\.time)
        let most = trials.map(\.probes).max() ?? 0
        print(
            "random 64k × port-restricted: \(times.count)/\(trials.count) direct",
            "(\(percent(times.count, of: trials.count))), p50 \(milliseconds(times, 0.5)), longest \(milliseconds(times, 1)),",
            "probes p50 \(percentile(trials.map(\.probes), 0.5) ?? 0), most \(most); seeds hash(number, part, 64)")
        #expect(Double(times.count) >= 0.98 * Double(trials.count) - 1)
        #expect(most <= 1100)
        #expect(times.max() ?? .seconds(9) <= .milliseconds(1500))
    }

    @Test func `a port that a stranger's packet has taken is escaped within 1.5 s`() throws {
        let parts = try inParallel(4) { part in
            try (0..<Trials.of(750)).map { number in
                try Self.poisoned(SeededRandom.hash(UInt64(number), UInt64(part), 13))
            }
        }
        let all = parts.flatMap { $0 }
        let times = all.compactMap { $0 }
        print(
            "poisoned connection tracking: \(times.count)/\(all.count) direct, p50 \(milliseconds(times, 0.5)),",
            "p99 \(milliseconds(times, 0.99)), longest \(milliseconds(times, 1)); seeds hash(number, part, 13)")
        #expect(times.count == all.count)
        #expect(times.max() ?? .seconds(9) <= .milliseconds(1500))
    }

    /// Both behind NATs that accept packets for themselves; one or both have just had one from where the peer is.
    private static func poisoned(_ seed: UInt64) throws -> Interval? {
        var random = SeededRandom(seed: seed)
        var plans = [NATClass.eimAPDF.plan(&random), NATClass.eimAPDF.plan(&random)]
        for index in plans.indices { plans[index].chain[0].acceptsInput = true }
        var trial = try PairTrial(plans[0], plans[1], seed: random.next())
        trial.learnNetworks()
        let which = random.below(3)
        if which != 1 { trial.caller.poison(from: trial.callee) }
        if which != 0 { trial.callee.poison(from: trial.caller) }
        return try trial.meet(within: .seconds(10))
    }

    @Test func `ends that escape at the same time have the same path in the end, and lose nothing while they settle`()
        throws
    {
        let trials = try inParallel(Trials.of(400)) { number -> (met: Bool, lost: Int, mirrored: Bool) in
            var random = SeededRandom(seed: SeededRandom.hash(UInt64(number), 15))
            var plans = [NATClass.eimAPDF.plan(&random), NATClass.eimAPDF.plan(&random)]
            for index in plans.indices { plans[index].chain[0].acceptsInput = true }
            var trial = try PairTrial(plans[0], plans[1], seed: random.next())
            (trial.world.weather.loss, trial.world.weather.duplication) = (0, 0)
            trial.learnNetworks()
            guard try trial.meet() != nil else { return (false, 0, false) }
            trial.startTalking()
            trial.world.run(for: .milliseconds(1000 + random.below(1000)))
            // Both NATs forget their entries, and a packet of the peer's comes before one of their own.
            for agent in [trial.caller, trial.callee] { agent.rebootNAT(external: nil) }
            trial.caller.poison(from: trial.callee)
            trial.callee.poison(from: trial.caller)
            for (agent, peer) in [(trial.caller, trial.callee), (trial.callee, trial.caller)].shuffled(using: &random) {
                agent.escape(to: peer)
                trial.world.run(for: .milliseconds(random.below(60)))
            }
            let end = trial.world.now + .seconds(20)
            while !trial.isDirect, trial.world.now < end { trial.world.run(for: .milliseconds(10)) }
            let lost = trial.lostWhileTalking(for: .seconds(3))
            return (trial.isDirect, lost, trial.isMirrored)
        }
        print(
            "both ends escape: \(trials.count { $0.met })/\(trials.count) direct, \(trials.count { $0.lost > 0 }) lost some",
            "afterwards, \(trials.count { !$0.mirrored }) on two paths; seeds hash(number, 15)")
        #expect(trials.allSatisfy { $0.met && $0.lost == 0 && $0.mirrored })
    }

    /// The NAT that lets everybody in has an entry for its own early packet to the peer, under another port than the one that
    /// the peer sends to: it can't make a second for the answer.
    @Test func `an entry that an early packet made in a NAT without a filter is escaped within 1.5 s`() throws {
        let times = try (0..<Trials.of(500)).map { number in
            var random = SeededRandom(seed: SeededRandom.hash(UInt64(number), 14))
            let plans = [NATClass.eimAPDF.plan(&random), NATClass.anyEIF.plan(&random)]
            let isSwapped = random.chance(0.5)
            var trial = try PairTrial(plans[isSwapped ? 1 : 0], plans[isSwapped ? 0 : 1], seed: random.next())
            trial.learnNetworks()
            let (hard, easy) = isSwapped ? (trial.caller, trial.callee) : (trial.callee, trial.caller)
            hard.sendEarly(to: easy)
            return try trial.meet(within: .seconds(10))
        }
        let met = times.compactMap { $0 }
        print(
            "early packet of a NAT without a filter: \(met.count)/\(times.count) direct, p50 \(milliseconds(met, 0.5)),",
            "p99 \(milliseconds(met, 0.99)), longest \(milliseconds(met, 1)); seeds hash(number, 14)")
        #expect(met.count == times.count)
        #expect(met.max() ?? .seconds(9) <= .milliseconds(1500))
    }

    /// How many of `trials` meetings end direct.
    private static func direct(
        _ first: NATClass, _ second: NATClass, trials: Int, change: (inout SimulatedAgent.Plan) -> Void = { _ in },
        other: (inout SimulatedAgent.Plan) -> Void = { _ in }, prepare: (World) -> Void
    ) throws -> (direct: Int, of: Int, times: [Interval]) {
        var times: [Interval] = []
        for number in 0..<trials {
            var random = SeededRandom(seed: SeededRandom.hash(UInt64(number), first.seed, second.seed, 5780))
            var plans = [first.plan(&random), second.plan(&random)]
            change(&plans[0])
            other(&plans[1])
            if random.chance(0.5) { plans.swapAt(0, 1) }
            var trial = try PairTrial(plans[0], plans[1], seed: random.next(), prepare: prepare)
            trial.learnNetworks()
            if let time = try trial.meet() { times.append(time) }
        }
        return (times.count, trials, times)
    }

    @Test(arguments: [
        (NATClass.eimAPDF, NATClass.eimAPDF), (.eimAPDF, .anyEIF), (.eimADF, .random), (.cgn, .eimAPDF),
        (.eimAPDF, .sequential), (.sequential, .sequential), (.eimAPDF, .random), (.block, .block), (.eimAPDF, .block),
    ])
    func `servers that do not speak RFC 5780 are enough`(_ first: NATClass, _ second: NATClass) throws {
        let result = try Self.direct(first, second, trials: Trials.of(200)) { $0.hasOtherAddress = false }
        print(
            "without RFC 5780: \(first.rawValue) × \(second.rawValue): \(result.direct)/\(result.of) direct;",
            "seeds hash(number, first, second, 5780)")
        #expect(Double(result.direct) >= 0.97 * Double(result.of) - 1)
    }

    @Test(arguments: [
        (NATClass.eimAPDF, NATClass.eimAPDF), (.eimEIF, .random), (.eimADF, .block), (.eimAPDF, .sequential),
        (.block, .block),
    ])
    func `loss of 5%, jitter of 30 ms and duplicates change little`(_ first: NATClass, _ second: NATClass) throws {
        let result = try Self.direct(first, second, trials: Trials.of(200)) { world in
            world.weather = World.Weather(loss: 0.05, duplication: 0.05, jitter: .milliseconds(30), hops: 3)
        }
        print("bad weather: \(first.rawValue) × \(second.rawValue): \(result.direct)/\(result.of) direct")
        #expect(Double(result.direct) >= 0.97 * Double(result.of) - 1)
    }

    /// What opens the outer NAT has to reach it, and must not reach the peer's: some of those remember a stranger's packet.
    @Test(arguments: [false, true])
    func `a provider's symmetric NAT behind the home router is crossed like one alone`(_ peerAccepts: Bool) throws {
        func run(_ knowsDepth: Bool) throws -> (direct: Int, of: Int, times: [Interval]) {
            try Self.direct(
                .cgnRandom, .eimAPDF, trials: Trials.of(300), change: { $0.knowsDepth = knowsDepth },
                other: { $0.chain[0].acceptsInput = peerAccepts }, prepare: { _ in })
        }
        let (known, unknown) = (try run(true), try run(false))
        print(
            "home router behind a symmetric CGN × port-restricted\(peerAccepts ? " that accepts input" : ""):",
            "\(known.direct)/\(known.of) direct, \(unknown.direct)/\(unknown.of) where the depth is unknown")
        #expect(Double(known.direct) >= 0.97 * Double(known.of))
    }

    /// Four servers see all four addresses with a probability of 9%, three with 56%, two with 33%, one with 2%: 68% of all
    /// peers are shown an address that was seen.
    @Test(arguments: [
        (NATClass.eimAPDF, 1, 0.93), (.eimAPDF, 37, 0.85), (.rewritten, 1, 0.93), (.rewritten, 37, 0.85),
        (.open, 37, 0.99),
        (.eimADF, 37, 0.95),
    ])
    func `a NAT with four addresses, taken without regard to who sends, is crossed`(
        _ other: NATClass, _ spacing: UInt64, _ least: Double
    ) throws {
        let result = try Self.direct(
            .eimAPDF, other, trials: Trials.of(1000),
            change: { ($0.chain[0].poolSize, $0.chain[0].poolSpacing) = (4, spacing) }, prepare: { _ in })
        print(
            "pool of four addresses \(spacing) apart × \(other.rawValue): \(result.direct)/\(result.of) direct",
            "(\(percent(result.direct, of: result.of))), p50 \(milliseconds(result.times, 0.5)),",
            "p99 \(milliseconds(result.times, 0.99)); seeds hash(number, first, second, 5780)")
        #expect(Double(result.direct) >= least * Double(result.of) - 1)
    }

    @Test func `two NATs with four addresses each are crossed where one pair of them fits`() throws {
        let result = try Self.direct(
            .eimAPDF, .eimAPDF, trials: Trials.of(300), change: { $0.chain[0].poolSize = 4 },
            other: { $0.chain[0].poolSize = 4 }, prepare: { _ in })
        print(
            "pool of four × pool of four: \(result.direct)/\(result.of) direct",
            "(\(percent(result.direct, of: result.of))); of 16 pairs of addresses one fits with a probability of 64%")
        #expect(Double(result.direct) >= 0.5 * Double(result.of))
    }
}
