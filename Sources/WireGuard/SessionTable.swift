import Synchronization

/// Which session a transport message is of, by its receiver index: looked up by packet threads without a lock, changed by
/// the device.
///
/// An open-addressed table whose entries are written so that a reader sees each whole or not at all. What leaves is only
/// marked, so that searches go on past it; a table with too many marks is replaced. One thread changes it at a time.
final class SessionTable: @unchecked Sendable {
    // Safe: `used` and `count` are touched by who changes the table alone.

    @safe private struct Entry: ~Copyable {
        // Safe: who inserts keeps the keypair alive until it is removed and retired.
        /// Free, left, or the index + 2.
        let key = Atomic<UInt64>(0)
        private let keypair: Atomic<Unmanaged<Keypair>?>

        init() { unsafe keypair = Atomic(nil) }

        func set(_ value: Keypair) {
            unsafe keypair.store(Unmanaged.passUnretained(value), ordering: .releasing)
            key.store(UInt64(value.localIndex) + 2, ordering: .releasing)
        }

        @inline(__always)
        func read<Result>(_ body: (Keypair) -> Result) -> Result? {
            guard let value = unsafe keypair.load(ordering: .acquiring) else { return nil }
            return unsafe value._withUnsafeGuaranteedRef(body)
        }
    }

    @safe private final class Buckets: @unchecked Sendable {
        // Safe: `capacity` entries, initialised here and freed in deinit.
        let entries: UnsafeMutablePointer<Entry>
        let capacity: Int

        init(capacity: Int) {
            self.capacity = capacity
            unsafe entries = .allocate(capacity: capacity)
            for index in 0..<capacity { unsafe (entries + index).initialize(to: Entry()) }
        }

        deinit {
            unsafe entries.deinitialize(count: capacity)
            unsafe entries.deallocate()
        }
    }

    private static let free: UInt64 = 0
    private static let left: UInt64 = 1

    private let buckets = Published(Buckets(capacity: 64))
    private let reclaimer: Reclaimer
    /// Entries that are not free, and those that hold a session.
    private var used = 0
    private(set) var count = 0

    init(_ reclaimer: Reclaimer) { self.reclaimer = reclaimer }

    /// Lends the session with this index, which lives until the reader's turn ends; nil for none.
    @inline(__always)
    func read<Result>(_ index: UInt32, _ body: (Keypair) -> Result) -> Result? {
        buckets.read { buckets -> Result? in
            let mask = buckets.capacity &- 1
            var position = Int(index) & mask
            for _ in 0..<buckets.capacity {
                let entry = unsafe buckets.entries + position
                let key = unsafe entry.pointee.key.load(ordering: .acquiring)
                if key == Self.free { return nil }
                if key == UInt64(index) &+ 2 {
                    return unsafe entry.pointee.read { keypair -> Result? in
                        // The entry may have been given to another between the two looks.
                        keypair.localIndex == index ? body(keypair) : nil
                    } ?? nil
                }
                position = (position &+ 1) & mask
            }
            return nil
        } ?? nil
    }

    /// Takes in a session that the caller keeps alive until it is removed and retired.
    func insert(_ keypair: Keypair) {
        guard let current = buckets.value() else { return }
        if (used + 1) * 2 > current.capacity { rebuild(current) }
        guard let current = buckets.value() else { return }
        if place(keypair, in: current) { used += 1 }
        count += 1
    }

    /// Takes a session out; nothing happens when it is not there.
    func remove(_ index: UInt32) {
        guard let current = buckets.value() else { return }
        let mask = current.capacity - 1
        var position = Int(index) & mask
        for _ in 0..<current.capacity {
            let entry = unsafe current.entries + position
            let key = unsafe entry.pointee.key.load(ordering: .relaxed)
            if key == Self.free { return }
            if key == UInt64(index) + 2 {
                unsafe entry.pointee.key.store(Self.left, ordering: .releasing)
                count -= 1
                return
            }
            position = (position + 1) & mask
        }
    }

    /// Whether a free entry was taken for it, and not one that was left.
    private func place(_ keypair: Keypair, in buckets: Buckets) -> Bool {
        let mask = buckets.capacity - 1
        var position = Int(keypair.localIndex) & mask
        while true {
            let entry = unsafe buckets.entries + position
            let key = unsafe entry.pointee.key.load(ordering: .relaxed)
            if key == Self.free || key == Self.left {
                unsafe entry.pointee.set(keypair)
                return key == Self.free
            }
            position = (position + 1) & mask
        }
    }

    private func rebuild(_ old: Buckets) {
        var capacity = 64
        while capacity < (count + 1) * 4 { capacity *= 2 }
        let new = Buckets(capacity: capacity)
        used = 0
        for position in 0..<old.capacity {
            let entry = unsafe old.entries + position
            guard unsafe entry.pointee.key.load(ordering: .relaxed) > Self.left else { continue }
            _ = unsafe entry.pointee.read { place($0, in: new) }
            used += 1
        }
        buckets.publish(new, reclaimer)
    }
}
