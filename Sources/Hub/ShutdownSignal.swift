import Glibc
import Linux

/// SIGTERM and SIGINT as something to wait for. Make it first thing in main, before any other thread.
package final class ShutdownSignal: Sendable {
    private let signals: SignalFD

    package init() throws(HubError) {
        do { signals = try SignalFD([SIGTERM, SIGINT]) } catch { throw HubError(error) }
    }

    /// Returns the number of the signal that asks the process to end. Call it once.
    package func wait() async -> Int32 {
        let (numbers, continuation) = AsyncStream<Int32>.makeStream()
        do {
            _ = try Thread(named: "signals") {
                var poll = pollfd(fd: self.signals.raw, events: Int16(POLLIN), revents: 0)
                while true {
                    _ = unsafe Glibc.poll(&poll, 1, -1)
                    if let number = self.signals.next() {
                        continuation.yield(number)
                        return continuation.finish()
                    }
                }
            }
        } catch { continuation.finish() }
        for await number in numbers { return number }
        return SIGTERM
    }
}
