import Glibc
import Lab
import Linux
import Synchronization

/// Runs `body` for 0 up to `count`, on `width` threads; throws the first error once all have ended.
func concurrently(_ count: Int, width: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
    let work = Work()
    let threads = try (0..<min(count, width)).map { number in
        try Joinable(named: "worker-\(number)") {
            while true {
                let index = work.next.add(1, ordering: .relaxed).oldValue
                guard index < count else { return }
                do { try body(index) } catch { work.faults.withLock { $0.append(error) } }
            }
        }
    }
    for thread in threads { thread.join() }
    if let fault = work.faults.withLock({ $0.first }) { throw fault }
}

private final class Work: Sendable {
    let next = Atomic(0)
    let faults = Mutex<[any Error]>([])
}

/// A thread that can be kept in an array.
final class Joinable: Sendable {
    private let thread: Mutex<Linux.Thread?>

    init(named name: String, _ body: @escaping @Sendable () -> Void) throws {
        thread = Mutex(try Linux.Thread(named: name, body))
    }

    func join() {
        thread.withLock { thread in
            guard let running = thread.take() else { return }
            running.join()
        }
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}

/// Values by number, written by several threads.
final class Table<Value: Sendable>: Sendable {
    private let entries = Mutex<[Int: Value]>([:])

    var values: [Value] { entries.withLock { Array($0.values) } }

    subscript(index: Int) -> Value? {
        get { entries.withLock { $0[index] } }
        set { entries.withLock { $0[index] = newValue } }
    }
}
