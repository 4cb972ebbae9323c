import Glibc
import Linux

/// SIGTERM and SIGINT as something to wait for. Made first thing in main, before any other thread.
final class Termination: Sendable {
    private let signals: SignalFD

    init() throws(SystemError) { signals = try SignalFD([SIGTERM, SIGINT]) }

    /// Returns at the first signal. Called once.
    func wait() async {
        let (numbers, continuation) = AsyncStream<Int32>.makeStream()
        do {
            _ = try Thread(named: "signals") { [self] in
                var descriptor = pollfd(fd: signals.raw, events: Int16(POLLIN), revents: 0)
                while true {
                    _ = unsafe poll(&descriptor, 1, -1)
                    guard let number = signals.next() else { continue }
                    continuation.yield(number)
                    return continuation.finish()
                }
            }
        } catch { continuation.finish() }
        for await _ in numbers { return }
    }
}
