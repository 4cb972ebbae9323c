package import Timing

/// Packets on their way: each comes out a while after it went in, or never, or twice. Pure: time is a parameter.
package struct DelayLine<Element: Sendable>: Sendable {
    private let weather: Weather
    private var random: SplitMix
    /// A heap by time, then by arrival.
    private var waiting: [(due: MonotonicTime, serial: UInt64, element: Element)] = []
    private var serial: UInt64 = 0
    private var last = MonotonicTime.zero
    package private(set) var lost = 0

    package init(_ weather: Weather, seed: UInt64) {
        self.weather = weather
        random = SplitMix(seed)
    }

    package mutating func put(_ element: Element, now: MonotonicTime) {
        if chance(weather.loss) {
            lost += 1
            return
        }
        let copies = chance(weather.duplication) ? 2 : 1
        for _ in 0..<copies {
            let jitter = weather.jitter > 0 ? weather.jitter * unit() : 0
            var due = now + Self.milliseconds(weather.delay + jitter)
            if chance(weather.reordering) {
                due = due + Self.milliseconds(weather.reorderingDelay)
            } else {
                // Jitter alone does not reorder: what went in first comes out first.
                due = max(due, last)
                last = due
            }
            push(due, element)
        }
    }

    /// When the next packet is due.
    package var nextDue: MonotonicTime? { waiting.first?.due }

    /// The next packet that is due, if one is.
    package mutating func take(now: MonotonicTime) -> Element? {
        guard let first = waiting.first, first.due <= now else { return nil }
        waiting.swapAt(0, waiting.count - 1)
        waiting.removeLast()
        var index = 0
        while true {
            let children = [2 * index + 1, 2 * index + 2].filter { $0 < waiting.count }
            guard let child = children.min(by: { isBefore($0, $1) }), isBefore(child, index) else { break }
            waiting.swapAt(child, index)
            index = child
        }
        return first.element
    }

    private mutating func push(_ due: MonotonicTime, _ element: Element) {
        serial += 1
        waiting.append((due, serial, element))
        var index = waiting.count - 1
        while index > 0, isBefore(index, (index - 1) / 2) {
            waiting.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (waiting[left].due, waiting[left].serial) < (waiting[right].due, waiting[right].serial)
    }

    /// From 0 to 1.
    private mutating func unit() -> Double { Double(random.next() >> 11) / Double(1 << 53) }

    private mutating func chance(_ probability: Double) -> Bool { probability > 0 && unit() < probability }

    private static func milliseconds(_ value: Double) -> Interval { .nanoseconds(UInt64(max(0, value) * 1e6)) }
}
