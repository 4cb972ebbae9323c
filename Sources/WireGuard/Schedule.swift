package import Timing

/// Which peer's timers to look at next: a binary heap of times, at most one a slot.
///
/// A peer whose timers moved to later stays where it is and is looked at too early once, so that packets seldom touch the
/// heap. The zero value is empty. Not safe for concurrent use.
package struct Schedule {
    private struct Entry {
        var time: MonotonicTime
        var slot: Int32
    }

    private var heap: [Entry] = []
    /// By slot, where in the heap it is, or -1.
    private var positions: [Int32] = []

    package init() {}

    /// The first time at which something may be due.
    package var earliest: MonotonicTime { heap.first?.time ?? .never }

    /// Looks at `slot` at `time` and not when it was said before.
    package mutating func set(_ slot: Int32, to time: MonotonicTime) {
        while positions.count <= Int(slot) { positions.append(-1) }
        let position = Int(positions[Int(slot)])
        guard position < 0 else {
            heap[position].time = time
            sink(position)
            rise(Int(positions[Int(slot)]))
            return
        }
        heap.append(Entry(time: time, slot: slot))
        positions[Int(slot)] = Int32(heap.count - 1)
        rise(heap.count - 1)
    }

    /// The slot to look at, taken out; nil when nothing is due at `now`.
    package mutating func popDue(_ now: MonotonicTime) -> Int32? {
        guard let first = heap.first, first.time <= now else { return nil }
        remove(first.slot)
        return first.slot
    }

    package mutating func remove(_ slot: Int32) {
        guard Int(slot) < positions.count, positions[Int(slot)] >= 0 else { return }
        let position = Int(positions[Int(slot)])
        positions[Int(slot)] = -1
        let last = heap.removeLast()
        guard position < heap.count else { return }
        heap[position] = last
        positions[Int(last.slot)] = Int32(position)
        sink(position)
        rise(Int(positions[Int(last.slot)]))
    }

    private mutating func rise(_ start: Int) {
        var position = start
        while position > 0, heap[position].time < heap[(position - 1) / 2].time {
            exchange(position, (position - 1) / 2)
            position = (position - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var position = start
        while true {
            var least = position
            for child in [2 * position + 1, 2 * position + 2]
            where child < heap.count && heap[child].time < heap[least].time { least = child }
            if least == position { return }
            exchange(position, least)
            position = least
        }
    }

    private mutating func exchange(_ a: Int, _ b: Int) {
        heap.swapAt(a, b)
        positions[Int(heap[a].slot)] = Int32(a)
        positions[Int(heap[b].slot)] = Int32(b)
    }
}
