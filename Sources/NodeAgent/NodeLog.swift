import Linux
import Synchronization
import Timing

/// Lines for people on stderr, which nobody can flood: 10 a second, 50 at once. Safe for concurrent use.
package final class NodeLog: Sendable {
    private static let limit = TokenBucket.Limit(perSecond: 10, burst: 50)

    private struct State {
        var bucket: TokenBucket
        var suppressed = 0
    }

    private let state = Mutex(State(bucket: TokenBucket(full: NodeLog.limit, now: .now())))
    private let write: @Sendable (String) -> Void

    package init(write: @escaping @Sendable (String) -> Void = { writeErrorLine("warren-node: \($0)") }) {
        self.write = write
    }

    package func callAsFunction(_ line: String) {
        let suppressed: Int? = state.withLock { state in
            guard state.bucket.take(1, limit: Self.limit, now: .now()) else {
                state.suppressed += 1
                return nil
            }
            defer { state.suppressed = 0 }
            return state.suppressed
        }
        guard let suppressed else { return }
        if suppressed > 0 { write("\(suppressed) lines left out") }
        // What pods and files name things is shown, not obeyed.
        write(String(String.UnicodeScalarView(line.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7f })))
    }
}
