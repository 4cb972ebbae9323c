import TestSupport
import Timing

/// How two NAT classes fared with each other in a number of trials.
struct Cell: Sendable {
    /// What the pair table says of two classes.
    enum Way: String {
        /// Plain simultaneous opening, and the reply on the session that the peer's packet made.
        case simple = "S"
        /// The next ports of a sequential NAT.
        case predicted = "P"
        /// One side opens many, the other tries many.
        case birthday = "B"
        /// Both do, within small blocks.
        case birthdayInBlocks = "B2"
        case relay = "R"

        init(_ first: NATClass, _ second: NATClass) {
            let pair = [first, second]
            let varying: Set<NATClass> = [.anyADF, .sequential, .block, .random]
            self =
                if pair.contains(.blocked) {
                    .relay
                } else if pair.contains(.open) || pair.contains(.eimEIF) || pair.contains(.anyEIF)
                    || pair.contains(.eimADF) || !varying.contains(first) && !varying.contains(second)
                {
                    .simple
                } else if pair.contains(.anyADF) {
                    .birthday
                } else if !varying.contains(first) || !varying.contains(second) {
                    pair.contains(.sequential) ? .predicted : .birthday
                } else if pair.contains(.random) {
                    .relay
                } else {
                    pair.contains(.sequential) ? .predicted : .birthdayInBlocks
                }
        }
    }

    let first: NATClass
    let second: NATClass
    let way: Way
    private(set) var trials = 0
    /// From when both had heard each other's call to when both were direct.
    private(set) var times: [Interval] = []
    /// The same in round trips between both.
    private(set) var roundTrips: [Double] = []
    /// What a spray sent.
    private(set) var probes: [Int] = []
    private(set) var failedSeeds: [UInt64] = []

    var direct: Int { times.count }
    var rate: Double { trials == 0 ? 0 : Double(direct) / Double(trials) }

    /// Runs `trials` meetings; with `simple`, without prediction, birthday probing and sockets beside the home sockets.
    static func run(_ first: NATClass, _ second: NATClass, trials: Int, simple: Bool = false) throws -> Cell {
        var cell = Cell(first: first, second: second, way: Way(first, second))
        for number in 0..<trials {
            let seed = SeededRandom.hash(UInt64(number), first.seed, second.seed)
            var trial = try PairTrial(first, second, seed: seed, simple: simple)
            trial.learnNetworks()
            let limit = cell.way == .relay || simple ? Interval.seconds(4) : .seconds(20)
            cell.trials += 1
            if let time = try trial.meet(within: limit) {
                cell.times.append(time)
                cell.roundTrips.append(time.seconds / trial.roundTrip.seconds)
                cell.probes.append(trial.sprayed)
            } else {
                cell.failedSeeds.append(seed)
            }
        }
        return cell
    }

    /// All pairs of `classes`, each with as many trials as `trials` says.
    static func table(
        _ classes: [NATClass], simple: Bool = false, trials: @Sendable (Way) -> Int
    ) throws -> [Cell] {
        let pairs = classes.enumerated().flatMap { index, first in classes[index...].map { (first, $0) } }
        return try inParallel(pairs.count) { index in
            let (first, second) = pairs[index]
            return try run(first, second, trials: Trials.of(trials(Way(first, second))), simple: simple)
        }
    }

    var line: String {
        let name = "\(way.rawValue) \(first.rawValue) × \(second.rawValue)"
        var line = "\(name): \(direct)/\(trials) direct (\(percent(direct, of: trials)))"
        if direct > 0 { line += ", p50 \(milliseconds(times, 0.5)), p99 \(milliseconds(times, 0.99))" }
        if let most = probes.max(), most > 0 {
            line += ", probes p50 \(percentile(probes, 0.5) ?? 0), most \(most)"
        }
        if way != .relay, !failedSeeds.isEmpty { line += ", seeds of failures \(failedSeeds.prefix(3))" }
        return line
    }
}

extension NATClass {
    var seed: UInt64 { rawValue.utf8.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 } }
}
