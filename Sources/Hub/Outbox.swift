package import Directory
import Synchronization

/// What is to be written to one connection, in order and bounded: a client that does not read is let go of, and can't make
/// the hub keep its mail. Safe from any task.
package final class Outbox: Sendable {
    static let limit = 512
    /// Signals, which anybody can cause, leave room for answers.
    static let signalLimit = 256

    package let messages: AsyncStream<Message>
    private let continuation: AsyncStream<Message>.Continuation
    private let queued = Atomic<Int>(0)
    private let close: @Sendable () -> Void

    /// - Parameter close: ends the connection when it can't keep up.
    package init(close: @escaping @Sendable () -> Void) {
        (messages, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.limit))
        self.close = close
    }

    package func push(_ message: Message) {
        if case .dropped = continuation.yield(message) { return close() }
        queued.add(1, ordering: .relaxed)
    }

    /// False, without queueing it, when too much is waiting.
    package func pushSignal(_ message: Message) -> Bool {
        guard queued.load(ordering: .relaxed) < Self.signalLimit else { return false }
        push(message)
        return true
    }

    /// The writer has taken a message out.
    func didTake() { queued.subtract(1, ordering: .relaxed) }

    func finish() { continuation.finish() }

    func disconnect() { close() }
}
