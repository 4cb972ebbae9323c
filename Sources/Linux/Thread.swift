import CLinux
import Glibc
import Synchronization

/// A plain POSIX thread: for packet loops and namespace visits, which must not run on the concurrency pool.
package struct Thread: ~Copyable, Sendable {
    private let handle: pthread_t

    /// Starts `body` on a new thread named `name` (at most 15 bytes are kept).
    package init(named name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let box = unsafe Unmanaged.passRetained(Body(name: String(name.prefix(15)), body))
        var handle = pthread_t()
        let code = unsafe pthread_create(
            &handle, nil,
            { argument in
                // Safe: the argument is the retained box made above, taken exactly once.
                let body = unsafe argument.map { unsafe Unmanaged<Body>.fromOpaque($0).takeRetainedValue() }
                if let body {
                    _ = unsafe CLinux_set_thread_name(body.name)
                    body.run()
                }
                return nil
            }, unsafe box.toOpaque())
        guard code == 0 else {
            unsafe box.release()
            throw SystemError("pthread_create \(name)", Errno(code))
        }
        self.handle = handle
    }

    /// Waits for the thread to end.
    package consuming func join() { _ = pthread_join(handle, nil) }

    /// Runs `body` on a thread of its own and returns what it returns or throws what it throws.
    package static func run<Result: Sendable>(
        named name: String, _ body: @escaping @Sendable () throws -> Result
    ) throws -> Result {
        let outcome = Outcome<Result>()
        let thread = try Thread(named: name) {
            let result = Swift.Result { try body() }
            outcome.value.withLock { $0 = result }
        }
        thread.join()
        guard let result = outcome.value.withLock({ $0 }) else { throw SystemError("run \(name)", .invalidArgument) }
        return try result.get()
    }

    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    private final class Outcome<Value: Sendable>: Sendable {
        let value = Mutex<Result<Value, any Error>?>(nil)
    }
}
