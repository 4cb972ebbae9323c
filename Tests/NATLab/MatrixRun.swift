import Lab

/// Measures every pair of the classes, several pairs at a time.
struct MatrixRun {
    let options: Options
    let programs: String

    /// The faults are the laboratory's.
    func run() throws -> (record: MatrixRecord, faults: [String]) {
        var pairs: [(NATClass, NATClass)] = []
        for (index, a) in options.classes.enumerated() {
            for b in options.classes[index...]
            where options.crossings.isEmpty || options.crossings.contains(NATClass.crossing(a, b).letter) {
                pairs.append((a, b))
            }
        }
        let start = Clock.now
        let (total, trials) = (pairs.count, options.trials)
        say("\(options.classes.count) classes, \(total) pairs, \(trials) trials each")
        let queue = Queue<(NATClass, NATClass), Cell>(pairs)
        let (cells, faults) = try queue.run(options, programs: programs, settings: options.settings) { pair, lab in
            var cell = Cell(pair.0, pair.1)
            try lab.install(pair.0, pair.1)
            for number in 0..<trials { cell.trials.append(try lab.trial(caller: number % 2)) }
            return cell
        } _: { cell, count in
            say("\(Self.place(count, of: total))  \(Self.line(cell))")
        }
        var record = MatrixRecord(
            classes: options.classes, settings: options.settings, trialsPerCell: trials, lanes: options.lanes)
        record.cells = cells
        record.seconds = Clock.now - start
        return (record, faults)
    }

    static func place(_ count: Int, of total: Int) -> String {
        String(repeating: " ", count: max(0, "\(total)".count - "\(count)".count)) + "\(count)/\(total)"
    }

    /// `full-cone × symmetric  S  direct 3/3, first byte 4.2 ms, direct after 31 ms`.
    static func line(_ cell: Cell) -> String {
        let pair = "\(cell.a) × \(cell.b)"
        var text = pair + String(repeating: " ", count: max(1, 36 - pair.count))
        text += cell.crossing + String(repeating: " ", count: 4 - cell.crossing.count) + outcomes(cell)
        if let first = cell.firstBytes.median { text += ", first byte \(milliseconds(first))" }
        if let direct = cell.directs.median { text += ", direct after \(milliseconds(direct))" }
        if let note = cell.trials.compactMap(\.note).first { text += " (\(note))" }
        return text
    }

    /// `direct 2/3 relay 1/3`.
    static func outcomes(_ cell: Cell) -> String {
        [Trial.Outcome.direct, .halfDirect, .relay, .none, .notReady].filter { cell.count($0) > 0 }
            .map { "\($0.rawValue) \(cell.count($0))/\(cell.trials.count)" }.joined(separator: " ")
    }
}
