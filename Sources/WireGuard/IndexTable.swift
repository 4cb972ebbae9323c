/// Which peer a receiver index is of: an open-addressed table without allocation on look-up.
///
/// The indices are random, so they are their own hash. The zero value is empty. Not safe for concurrent use.
package struct IndexTable {
    private struct Entry {
        var index: UInt32
        /// The peer's slot, or negative where the entry is free.
        var slot: Int32
    }

    package init() {}

    private var entries: [Entry] = .init(repeating: Entry(index: 0, slot: -1), count: 16)
    package private(set) var count = 0

    /// The slot that `index` was given to, or -1.
    package func slot(of index: UInt32) -> Int32 {
        var position = home(index)
        while entries[position].slot >= 0 {
            if entries[position].index == index { return entries[position].slot }
            position = (position + 1) & (entries.count - 1)
        }
        return -1
    }

    /// A new index for `slot`, not in use before.
    package mutating func allocate(_ slot: Int32, using random: inout some RandomNumberGenerator) -> UInt32 {
        // At most half full, so that searches stay short.
        if (count + 1) * 2 > entries.count { grow() }
        while true {
            let index = UInt32(truncatingIfNeeded: random.next())
            guard self.slot(of: index) < 0 else { continue }
            insert(Entry(index: index, slot: slot))
            return index
        }
    }

    package mutating func remove(_ index: UInt32) {
        var position = home(index)
        while entries[position].index != index || entries[position].slot < 0 {
            guard entries[position].slot >= 0 else { return }
            position = (position + 1) & (entries.count - 1)
        }
        entries[position].slot = -1
        count -= 1
        // What follows may have been pushed here by the removed one.
        var next = (position + 1) & (entries.count - 1)
        while entries[next].slot >= 0 {
            let entry = entries[next]
            entries[next].slot = -1
            count -= 1
            insert(entry)
            next = (next + 1) & (entries.count - 1)
        }
    }

    private func home(_ index: UInt32) -> Int { Int(index) & (entries.count - 1) }

    private mutating func insert(_ entry: Entry) {
        var position = home(entry.index)
        while entries[position].slot >= 0 { position = (position + 1) & (entries.count - 1) }
        entries[position] = entry
        count += 1
    }

    private mutating func grow() {
        let old = entries
        entries = .init(repeating: Entry(index: 0, slot: -1), count: old.count * 2)
        count = 0
        for entry in old where entry.slot >= 0 { insert(entry) }
    }
}
