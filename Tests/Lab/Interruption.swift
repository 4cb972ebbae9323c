import Foundation
import Glibc
import Synchronization

/// Cleans up when the program is told to stop (SIGINT, SIGTERM, SIGHUP), then lets the signal end it.
///
/// The handler only writes a byte; a thread that waits for it does the work.
package enum Interruption {
    private struct Pipe {
        let reader: Int32
        let writer: Int32

        init() {
            var ends: [Int32] = [-1, -1]
            _ = unsafe pipe(&ends)
            (reader, writer) = (ends[0], ends[1])
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        }
    }

    private static let pipeEnds = Pipe()
    private static let actions = Mutex<[@Sendable () -> Void]>([])
    private static let watcher: Void = startWatcher()
    private static let hasBegun = Atomic(false)

    /// Does not return when a signal came: the thread that cleans up ends the program. To be called when something
    /// fails, which may be because it is being cleaned away.
    package static func waitIfInterrupted() {
        while hasBegun.load(ordering: .sequentiallyConsistent) { pause() }
    }

    /// Runs `action` when a signal comes, after those given before.
    package static func cleanUp(_ action: @escaping @Sendable () -> Void) {
        actions.withLock { $0.append(action) }
        _ = watcher
    }

    private static func startWatcher() {
        let reader = pipeEnds.reader
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { received in
                var byte = UInt8(truncatingIfNeeded: received)
                _ = unsafe Glibc.write(Interruption.pipeEnds.writer, &byte, 1)
            }
        }
        Thread.detachNewThread {
            var byte: UInt8 = 0
            while unsafe read(reader, &byte, 1) != 1 {}
            let number = Int32(byte)
            hasBegun.store(true, ordering: .sequentiallyConsistent)
            for action in actions.withLock({ $0 }) { action() }
            signal(number, SIG_DFL)
            kill(getpid(), number)
            sleep(1)
            _exit(128 + number)
        }
    }
}
