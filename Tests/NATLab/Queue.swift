import Lab
import Linux
import Synchronization

/// Work that several lanes share, each with a laboratory of its own.
final class Queue<Task: Sendable, Value: Sendable>: Sendable {
    private struct State {
        var waiting: [(task: Task, attempts: Int)]
        var done: [Value] = []
        var faults: [String] = []
    }

    private let state: Mutex<State>

    init(_ tasks: [Task]) { state = Mutex(State(waiting: tasks.reversed().map { ($0, 0) })) }

    /// A laboratory that failed so often is not built again.
    private static var patience: Int { 5 }

    /// Runs every task in the next free lane. Where the laboratory itself fails it is built anew, and the task tried once
    /// more; the faults say what happened, and what was left undone.
    ///
    /// - Parameters:
    ///   - work: given a task and the lane's laboratory.
    ///   - finished: given what came of it and how many are done.
    func run(
        _ options: Options, programs: String, settings: PairLab.Settings,
        _ work: @escaping @Sendable (Task, PairLab) throws -> Value,
        _ finished: @escaping @Sendable (Value, Int) -> Void
    ) throws -> (values: [Value], faults: [String]) {
        let lanes = min(options.lanes, state.withLock(\.waiting.count))
        var threads: [LaneThread] = []
        for lane in 1...max(1, lanes) {
            threads.append(
                try LaneThread(named: "lane \(lane)") { [self] in
                    for _ in 0..<Self.patience {
                        do {
                            try Laboratory.with("warren-natlab-\(lane)", programs: programs, settings) { lab in
                                try perform(lab, work, finished)
                            }
                            return
                        } catch {
                            Interruption.waitIfInterrupted()
                            state.withLock { $0.faults.append("lane \(lane): \(error)") }
                            say("lane \(lane) is built anew: \(error)")
                        }
                    }
                })
        }
        for thread in threads { thread.join() }
        return state.withLock { state in
            var faults = state.faults
            if !state.waiting.isEmpty { faults.append("\(state.waiting.count) left undone") }
            return (state.done, faults)
        }
    }
    private func perform(
        _ lab: PairLab, _ work: (Task, PairLab) throws -> Value, _ finished: (Value, Int) -> Void
    ) throws {
        while let (task, attempts) = state.withLock({ $0.waiting.popLast() }) {
            do {
                let value = try work(task, lab)
                let count = state.withLock { state in
                    state.done.append(value)
                    return state.done.count
                }
                finished(value, count)
            } catch {
                if attempts == 0 { state.withLock { $0.waiting.append((task, 1)) } }
                throw error
            }
        }
    }
}
