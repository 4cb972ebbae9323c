import Linux

/// Waits for a signal from structured concurrency, without giving up a thread of its pool.
final class SignalWaiter: Sendable {
    private let signals: SignalFD
    private let cancellation: EventFD

    /// Blocks `numbers` for this thread and those that it starts: call before any other thread is started.
    init(_ numbers: [Int32]) throws(SystemError) {
        let signals = try SignalFD(numbers)
        let cancellation = try EventFD()
        self.signals = signals
        self.cancellation = cancellation
    }

    /// The next signal; nil when the task is cancelled.
    func next() async -> Int32? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                do {
                    // The handle is not joined: the thread ends by itself right after it resumes.
                    _ = try Thread(named: "warren-signals") { continuation.resume(returning: self.block()) }
                } catch { continuation.resume(returning: nil) }
            }
        } onCancel: {
            cancellation.signal()
        }
    }

    private func block() -> Int32? {
        guard let epoll = try? Epoll(), (try? epoll.add(signals.raw, .read, token: 0)) != nil,
            (try? epoll.add(cancellation.raw, .read, token: 1)) != nil
        else { return nil }
        while (try? epoll.wait(timeout: nil))?.isEmpty ?? false {}
        return signals.next()
    }
}
