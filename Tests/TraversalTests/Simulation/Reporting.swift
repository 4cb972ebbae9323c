import Foundation
import Synchronization
import Timing

/// The environment variable; nil when it is not set.
func environment(_ name: String) -> String? { ProcessInfo.processInfo.environment[name] }

/// A value at a fraction of the sorted ones; nil when there are none.
func percentile<Value: Comparable>(_ values: [Value], _ fraction: Double) -> Value? {
    guard !values.isEmpty else { return nil }
    return values.sorted()[min(Int(fraction * Double(values.count)), values.count - 1)]
}

/// Whole milliseconds at a fraction of the sorted values.
func milliseconds(_ values: [Interval], _ fraction: Double) -> String {
    percentile(values, fraction).map { "\(Int($0.milliseconds.rounded())) ms" } ?? "–"
}

/// One decimal.
func rounded(_ value: Double) -> String { String(format: "%.1f", value) }

func percent(_ part: Int, of whole: Int) -> String {
    whole == 0 ? "–" : String(format: "%.1f%%", 100 * Double(part) / Double(whole))
}

/// Runs `body` for each number below `count` on as many threads as there are processors, and keeps the order.
func inParallel<Result: Sendable>(_ count: Int, _ body: @Sendable (Int) throws -> Result) throws -> [Result] {
    let results = Mutex<[Int: Result]>([:])
    let failure = Mutex<(any Error)?>(nil)
    DispatchQueue.concurrentPerform(iterations: count) { index in
        do {
            let result = try body(index)
            results.withLock { $0[index] = result }
        } catch {
            failure.withLock { $0 = error }
        }
    }
    if let error = failure.withLock({ $0 }) { throw error }
    return results.withLock { results in (0..<count).compactMap { results[$0] } }
}
