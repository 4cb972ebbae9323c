import NATBox
import Testing
import Timing

@Suite struct DelayLineTests {
    @Test func `packets come out in order, after the delay and not before`() {
        var weather = Weather(delay: 20)
        weather.jitter = 10
        var line = DelayLine<Int>(weather, seed: 1)
        for number in 0..<100 { line.put(number, now: .zero + .milliseconds(UInt64(number))) }
        var taken: [(Int, Double)] = []
        for millisecond: UInt64 in 0..<200 {
            let now = MonotonicTime.zero + .milliseconds(millisecond)
            while let number = line.take(now: now) { taken.append((number, Double(millisecond))) }
        }
        #expect(taken.map(\.0) == Array(0..<100))
        #expect(taken.allSatisfy { (20...31).contains($0.1 - Double($0.0)) })
        #expect(line.nextDue == nil)
    }

    @Test func `loss, duplication and reordering happen as often as asked`() {
        var weather = Weather(delay: 1)
        (weather.loss, weather.duplication, weather.reordering) = (0.2, 0.1, 0.05)
        var line = DelayLine<Int>(weather, seed: 3)
        for number in 0..<10_000 { line.put(number, now: .zero + .milliseconds(UInt64(number))) }
        var taken: [Int] = []
        while let number = line.take(now: .never) { taken.append(number) }
        #expect((1800...2200).contains(line.lost))
        #expect(Set(taken).count == 10_000 - line.lost)
        #expect((700...900).contains(taken.count - Set(taken).count))
        let overtaken = zip(taken, taken.dropFirst()).count { $0 > $1 }
        #expect((300...600).contains(overtaken))
    }

    @Test func `the same seed gives the same weather`() {
        var weather = Weather()
        weather.loss = 0.5
        func survivors(_ seed: UInt64) -> [Int] {
            var line = DelayLine<Int>(weather, seed: seed)
            for number in 0..<64 { line.put(number, now: .zero) }
            var taken: [Int] = []
            while let number = line.take(now: .zero) { taken.append(number) }
            return taken
        }
        #expect(survivors(5) == survivors(5))
        #expect(survivors(5) != survivors(6))
    }
}
