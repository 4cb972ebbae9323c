import Linux
import Synchronization

/// What several threads said, in the order in which they said it.
final class Order: Sendable {
    private let said = Mutex<[String]>([])

    var names: [String] { said.withLock { $0 } }

    func add(_ name: String) { said.withLock { $0.append(name) } }
}

/// A thread that can be kept in an array.
final class Joinable: Sendable {
    private let thread: Mutex<Linux.Thread?>

    init(_ body: @escaping @Sendable () -> Void) throws {
        thread = Mutex(try Linux.Thread(named: "test", body))
    }

    func join() {
        thread.withLock { thread in
            guard let running = thread.take() else { return }
            running.join()
        }
    }
}
