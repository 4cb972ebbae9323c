import Synchronization

/// Frees what packet threads may still be looking at once they no longer can: quiescent-state-based reclamation
/// (Hart, McKenney, Demke Brown, Walpole: "Performance of memory reclamation for lockless synchronization", 2.1).
///
/// A packet thread looks at published objects only between `begin` and `end` of its reader and keeps none beyond. Who has
/// unpublished an object gives it to `retire`, which holds it until every reader that was in a turn then has ended it.
/// Safe from any thread.
package final class Reclaimer: Sendable {
    /// One packet thread's turns: odd while one goes on.
    package final class Reader: Sendable {
        fileprivate let turn = Atomic<UInt64>(0)

        /// Before the first look at anything published.
        package func begin() { turn.wrappingAdd(1, ordering: .sequentiallyConsistent) }

        /// After the last.
        package func end() { turn.wrappingAdd(1, ordering: .releasing) }
    }

    package let outbound = Reader()
    package let inbound = Reader()

    private struct Retired {
        let object: any AnyObject & Sendable
        /// The readers' turns at its retirement; even ones don't hold it.
        let outbound: UInt64
        let inbound: UInt64
    }

    private let retired = Mutex<[Retired]>([])

    package init() {}

    /// Takes over an object that was unpublished just now.
    package func retire(_ object: any AnyObject & Sendable) {
        // The readers' turns are looked at after the object can't be found any more, for every thread.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        let entry = Retired(
            object: object, outbound: outbound.turn.load(ordering: .sequentiallyConsistent),
            inbound: inbound.turn.load(ordering: .sequentiallyConsistent))
        // In a turn of neither, nobody can look at it, and it goes at once.
        guard entry.outbound % 2 == 1 || entry.inbound % 2 == 1 else { return }
        retired.withLock { $0.append(entry) }
    }

    /// Frees what no turn holds any more. Whether something is left: then call again soon.
    @discardableResult
    package func collect() -> Bool {
        let freed = retired.withLock { retired in
            guard !retired.isEmpty else { return ([Retired](), false) }
            let (out, into) = (
                outbound.turn.load(ordering: .acquiring), inbound.turn.load(ordering: .acquiring)
            )
            let kept = retired.filter { entry in
                (entry.outbound % 2 == 1 && entry.outbound == out) || (entry.inbound % 2 == 1 && entry.inbound == into)
            }
            let gone = kept.count == retired.count ? [] : retired
            retired = kept
            return (gone, !kept.isEmpty)
        }
        // What is freed is freed here, outside of the lock.
        return freed.1
    }
}

/// A place where the control thread publishes an immutable object for packet threads, without locks on their side.
///
/// Empty at first. Safe from any thread.
@safe package struct Published<Value: AnyObject & Sendable>: ~Copyable, Sendable {
    // Safe: the reference is retained while it is here, and given to the reclaimer when it leaves.
    private let reference: Atomic<Unmanaged<Value>?>

    package init() { unsafe reference = Atomic(nil) }

    package init(_ value: Value) { unsafe reference = Atomic(Unmanaged.passRetained(value)) }

    deinit { unsafe reference.load(ordering: .acquiring)?.release() }

    /// Lends the object, without counting, to a reader within a turn or to who publishes; nil when there is none.
    @inline(__always)
    package borrowing func read<Result>(_ body: (Value) -> Result) -> Result? {
        guard let value = unsafe reference.load(ordering: .acquiring) else { return nil }
        return unsafe value._withUnsafeGuaranteedRef(body)
    }

    /// The object, for who publishes.
    package borrowing func value() -> Value? { unsafe reference.load(ordering: .acquiring)?.takeUnretainedValue() }

    /// Puts another object in its place, or none.
    package borrowing func publish(_ value: Value?, _ reclaimer: Reclaimer) {
        let old = unsafe reference.exchange(
            value.map { unsafe Unmanaged.passRetained($0) }, ordering: .acquiringAndReleasing)
        if let old = unsafe old { unsafe reclaimer.retire(old.takeRetainedValue()) }
    }
}
