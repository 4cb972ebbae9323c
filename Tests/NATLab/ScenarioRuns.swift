import Lab

/// Everything but the matrix: failures, cold peers at a distance, ends without UDP, and pairs that say nothing.
struct ScenarioRuns {
    let options: Options
    let programs: String

    func failures() throws -> (values: [FailureTrial], faults: [String]) {
        let tasks = (0..<options.repetitions).flatMap { repetition in Failure.allCases.map { ($0, repetition) } }
        say("\(Failure.allCases.count) failures, \(options.repetitions) times each, under an open TCP stream")
        var settings = options.settings
        settings.isForFailures = true
        let total = tasks.count
        return try Queue<(Failure, Int), FailureTrial>(tasks).run(options, programs: programs, settings: settings) {
            try $1.bringAbout($0.0, repetition: $0.1)
        } _: { trial, count in
            let end = trial.fault ?? (trial.recovered ? "goes on" : "SILENT")
            say(
                "\(MatrixRun.place(count, of: total))  \(trial.failure.title): silent for "
                    + "\(milliseconds(trial.silence)), \(trial.before) then \(trial.after), \(end)")
        }
    }

    /// Peers that do not know each other, each `delay` ms away from everything.
    func cold(delay: Double) throws -> (values: [Trial], faults: [String]) {
        say("\(options.repetitions) cold peers, \(fixed(delay, 0)) ms each way between each agent and the Internet")
        let kind = try NATClass.named("port-restricted")
        var alone = options
        // Measured alone: two at once would wait for each other on few cores.
        alone.lanes = 1
        let tasks = Array(0..<options.repetitions)
        return try Queue<Int, Trial>(tasks).run(alone, programs: programs, settings: options.settings) { number, lab in
            try lab.install(kind, kind)
            if number == 0 { try lab.setDelay(delay) }
            return try lab.trial(caller: number % 2)
        } _: { trial, count in
            say(
                "\(MatrixRun.place(count, of: tasks.count))  first byte at the peer "
                    + "\(Self.text(trial.firstByte)), reply \(Self.text(trial.firstReply)), direct after "
                    + "\(Self.text(trial.direct)); ready after \(Self.text(trial.ready))")
        }
    }

    /// Pairs of which one end has no UDP.
    func blocked(delay: Double) throws -> (values: [Cell], faults: [String]) {
        say("ends without UDP, \(fixed(delay, 0)) ms each way")
        let home = try NATClass.named("port-restricted")
        let count = max(1, options.repetitions / 4)
        var alone = options
        alone.lanes = 1
        return try Queue<NATClass, Cell>(NATClass.blocked).run(alone, programs: programs, settings: options.settings) {
            kind, lab in
            var cell = Cell(kind, home)
            try lab.install(kind, home)
            try lab.setDelay(delay)
            for _ in 0..<count { cell.trials.append(try lab.trial(caller: 0, waitsForDirect: false)) }
            try lab.setDelay(nil)
            return cell
        } _: { cell, _ in
            let (up, ready) = (cell.trials.compactMap(\.relayUp).median, cell.trials.compactMap(\.ready).median)
            let transports = Set(cell.trials.compactMap(\.transport)).sorted().joined(separator: " and ")
            say(
                MatrixRun.line(cell) + ", relay by \(transports), up \(Self.text(up)) after the join; ready after "
                    + Self.text(ready))
        }
    }

    /// A pair that has talked, and one that never has, counted at the same time where there are two lanes.
    func idle() throws -> (values: [IdleRecord], faults: [String]) {
        let seconds = options.idleSeconds
        say("idle pairs, counted for \(fixed(seconds, 0)) s after 15 s of silence")
        return try Queue<Bool, IdleRecord>([true, false]).run(options, programs: programs, settings: options.settings) {
            try $1.idle(isConnected: $0, seconds: seconds)
        } _: { record, _ in
            say("paths \(record.paths): " + Self.perHour(record))
        }
    }

    static func perHour(_ record: IdleRecord) -> String {
        let rates = Underlay.Traffic.allCases.map { "\($0.rawValue) \(fixed(record.perHour($0), 0))" }
        return rates.joined(separator: ", ") + " packets an hour"
    }

    static func text(_ value: Double?) -> String { value.map(milliseconds) ?? "–" }
}

/// The scenarios as rows of name, measured and wanted.
struct ScenarioSummary {
    let record: RunRecord

    var rows: [[String]] {
        var rows: [[String]] = []
        for failure in Failure.allCases {
            let trials = record.failures.filter { $0.failure == failure }
            if trials.isEmpty { continue }
            let broken = trials.count { $0.fault != nil }
            let silent = trials.count { !$0.recovered }
            let tail = (broken > 0 ? ", \(broken) RESET" : "") + (silent > 0 ? ", \(silent) SILENT to the end" : "")
            rows.append([
                failure.title, "silent for " + MatrixSummary.percentiles(trials.map(\.silence)) + tail,
                "worst ≤ \(milliseconds(failure.bar)), no reset",
            ])
        }
        let cold = record.cold
        if !cold.isEmpty {
            let place = "cold peer, \(fixed(record.coldDelay, 0)) ms each way"
            rows.append([
                "\(place): first byte at the peer", MatrixSummary.percentiles(cold.compactMap(\.firstByte)), "≤ 180 ms",
            ])
            rows.append(["\(place): first reply", MatrixSummary.percentiles(cold.compactMap(\.firstReply)), "≤ 220 ms"])
            rows.append(["\(place): direct path", MatrixSummary.percentiles(cold.compactMap(\.direct)), ""])
            rows.append(["\(place): lost", "\(cold.count { !$0.isReachable }) of \(cold.count)", "0"])
        }
        for cell in record.blocked {
            let up = MatrixSummary.percentiles(cell.trials.compactMap(\.relayUp))
            rows.append(["\(cell.a): relay up, from the join", up, "≤ 220 ms"])
            let ready = MatrixSummary.percentiles(cell.trials.compactMap(\.ready))
            rows.append([
                "\(cell.a): hub and relay up, from process start", "\(MatrixRun.outcomes(cell)); \(ready)", "≤ 600 ms",
            ])
        }
        for idle in record.idle {
            let isUnused = idle.paths.hasPrefix("none")
            rows.append([
                (isUnused ? "unused pair" : "idle pair") + ", \(fixed(idle.seconds, 0)) s counted",
                ScenarioRuns.perHour(idle), isUnused ? "direct 0" : "direct ≤ 40",
            ])
        }
        return rows
    }
}
