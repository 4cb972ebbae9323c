import Synchronization

/// Questions that wait for an answer, by request number. Each is resolved exactly once, from any thread.
final class PendingAnswers: Sendable {
    typealias Answer = Result<Message, DirectoryError>

    private struct State {
        var last: UInt32 = 0
        var waiting: [UInt32: CheckedContinuation<Answer, Never>] = [:]
    }

    /// Numbers from here on are the client's own questions on reconnection; nobody waits for them.
    static let ownNumbers: UInt32 = 0x8000_0000

    private let state = Mutex(State())

    func nextNumber() -> UInt32 {
        state.withLock {
            $0.last = $0.last + 1 < Self.ownNumbers ? $0.last + 1 : 1
            return $0.last
        }
    }

    func wait(_ number: UInt32, _ continuation: CheckedContinuation<Answer, Never>) {
        let previous = state.withLock { $0.waiting.updateValue(continuation, forKey: number) }
        previous?.resume(returning: .failure(.timeout))
    }

    /// Does nothing when nobody waits for `number`.
    func resolve(_ number: UInt32, _ answer: Answer) {
        state.withLock { $0.waiting.removeValue(forKey: number) }?.resume(returning: answer)
    }

    func failAll(_ error: DirectoryError) {
        let waiting = state.withLock { state in
            defer { state.waiting = [:] }
            return state.waiting
        }
        for continuation in waiting.values { continuation.resume(returning: .failure(error)) }
    }
}

extension Message {
    /// The request that this message answers; nil for what is no answer.
    var answered: UInt32? {
        switch self {
        case .joined(let request, _, _), .left(let request), .authenticated(let request), .published(let request, _),
            .stale(let request, _), .found(let request, _), .memberList(let request, _), .notFound(let request),
            .withdrawn(let request),
            .error(let request, _, _):
            request == 0 ? nil : request
        default: nil
        }
    }
}
