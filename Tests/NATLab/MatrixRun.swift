import Glibc
import Lab
import Linux
import Synchronization

/// Measures every pair of the classes, several pairs at a time.
final class MatrixRun: Sendable {
    private struct State {
        var waiting: [(NATClass, NATClass)]
        var done: [Cell] = []
        var faults: [String] = []
    }

    private let options: Options
    private let programs: String
    private let total: Int
    private let state: Mutex<State>
    private let start = Clock.now

    init(_ options: Options, programs: String) {
        self.options = options
        self.programs = programs
        var pairs: [(NATClass, NATClass)] = []
        for (index, a) in options.classes.enumerated() {
            for b in options.classes[index...] { pairs.append((a, b)) }
        }
        total = pairs.count
        state = Mutex(State(waiting: pairs.reversed()))
    }

    /// Runs every lane to its end. The faults are the laboratory's.
    func run() throws -> (record: MatrixRecord, faults: [String]) {
        var lanes: [LaneThread] = []
        for lane in 1...options.lanes {
            lanes.append(try LaneThread(named: "lane \(lane)") { [self] in self.lane(lane) })
        }
        for lane in lanes { lane.join() }
        let (cells, faults) = state.withLock { ($0.done, $0.faults) }
        var record = MatrixRecord(
            classes: options.classes, settings: options.settings, trialsPerCell: options.trials, lanes: options.lanes)
        record.cells = cells
        record.seconds = Clock.now - start
        return (record, faults)
    }

    private func lane(_ number: Int) {
        do {
            try Laboratory.with("warren-natlab-\(number)", programs: programs, options.settings) { lab in
                while let (a, b) = state.withLock({ $0.waiting.popLast() }) { try measure(a, b, lab) }
            }
        } catch {
            Interruption.waitIfInterrupted()
            state.withLock { $0.faults.append("lane \(number): \(error)") }
            say("lane \(number) has ended: \(error)")
        }
    }

    private func measure(_ a: NATClass, _ b: NATClass, _ lab: PairLab) throws {
        var cell = Cell(a, b)
        try lab.install(a, b)
        for number in 0..<options.trials {
            cell.trials.append(try lab.trial(caller: number % 2))
        }
        let (finished, count) = state.withLock { state in
            state.done.append(cell)
            return (cell, state.done.count)
        }
        let width = "\(total)".count
        let place = String(repeating: " ", count: width - "\(count)".count) + "\(count)/\(total)"
        say("\(place)  \(Self.line(finished))")
    }

    /// `full-cone × symmetric  S  direct 3/3, first byte 4.2 ms, direct after 31 ms`.
    static func line(_ cell: Cell) -> String {
        let outcomes = [Trial.Outcome.direct, .halfDirect, .relay, .none, .notReady]
            .filter { cell.count($0) > 0 }
            .map { "\($0.rawValue) \(cell.count($0))/\(cell.trials.count)" }.joined(separator: " ")
        let pair = "\(cell.a) × \(cell.b)"
        var text = pair + String(repeating: " ", count: max(1, 36 - pair.count))
        text += cell.crossing + String(repeating: " ", count: 4 - cell.crossing.count) + outcomes
        if let first = cell.firstBytes.median { text += ", first byte \(milliseconds(first))" }
        if let direct = cell.directs.median { text += ", direct after \(milliseconds(direct))" }
        if let note = cell.trials.compactMap(\.note).first { text += " (\(note))" }
        return text
    }
}
