import TestSupport
import Testing
import Timing

@testable import Relay

@Suite struct FairQueueTests {
    private typealias Queue = FairQueue<Int>

    private let now = MonotonicTime(nanoseconds: 1)

    /// Jain's index of `shares`: 1 when all are equal, 1/n when one has all.
    private static func fairness(_ shares: [Double]) -> Double {
        let sum = shares.reduce(0, +)
        return sum * sum / (Double(shares.count) * shares.reduce(0) { $0 + $1 * $1 })
    }

    @Test func `one flow comes out as it went in`() {
        var queue = Queue()
        for number in 0..<1000 { queue.append(number, cost: 1400, flow: 3, now: now) }
        #expect((0..<1000).map { _ in queue.popFirst(now: now) } == Array(0..<1000))
        #expect(queue.popFirst(now: now) == nil && queue.weight == 0 && queue.isEmpty)
    }

    @Test func `a hundred sources share a link, whatever they send and in whatever sizes`() {
        var random = SeededRandom(seed: 1)
        var queue = Queue()
        var served = [Double](repeating: 0, count: 100)
        var costs: [Int: Int] = [:]
        var serial = 0
        // Each round the link sends 1 MB; every tenth source offers twenty times its share, the rest one and a half.
        for _ in 0..<200 {
            for source in 0..<100 {
                var offered = source % 10 == 0 ? 200_000 : 15_000
                while offered > 0 {
                    let cost = Int.random(in: 60...(source % 3 == 0 ? 60_000 : 1500), using: &random)
                    serial += 1
                    costs[serial] = source * 100_000 + cost
                    queue.append(serial, cost: cost, flow: source, now: now)
                    offered -= cost
                }
            }
            for lost in queue.takeDropped() { costs[lost] = nil }
            var budget = 1_000_000
            while budget > 0, let next = queue.popFirst(now: now), let entry = costs.removeValue(forKey: next) {
                served[entry / 100_000] += Double(entry % 100_000)
                budget -= entry % 100_000
            }
        }
        let index = Self.fairness(served)
        print("fair queue: Jain's index \(index) of 100 sources, ten of them greedy; seed 1")
        #expect(index >= 0.98)
    }

    @Test func `who sends little does not wait for those who send much`() {
        var queue = Queue()
        for number in 0..<500 { queue.append(number, cost: 1400, flow: number % 5, now: now) }
        for _ in 0..<200 { _ = queue.popFirst(now: now) }
        queue.append(-1, cost: 100, flow: 9, now: now)
        let place = (0..<300).first { _ in queue.popFirst(now: now) == -1 }
        #expect(place == 0)
    }

    @Test func `being fresh again and again gives nobody more than a share`() {
        var queue = Queue()
        var served = [0, 0]
        for _ in 0..<20_000 {
            // Flow 1 always has plenty; flow 0 offers one packet whenever it has none.
            queue.append(1, cost: 1000, flow: 1, now: now)
            queue.append(1, cost: 1000, flow: 1, now: now)
            queue.append(0, cost: 1000, flow: 0, now: now)
            for _ in 0..<2 { if let flow = queue.popFirst(now: now) { served[flow] += 1 } }
        }
        #expect(served[0] <= served[1] + 100)
    }

    @Test func `beyond its limit a flow loses its oldest, and no other flow anything`() {
        var configuration = Queue.Configuration()
        configuration.flowLimit = 10_000
        var queue = Queue(configuration)
        queue.append(-1, cost: 1000, flow: 1, now: now)
        for number in 0..<100 { queue.append(number, cost: 1000, flow: 0, now: now) }
        #expect(queue.takeDropped() == Array(0..<90))
        #expect(queue.drops == 90 && queue.weight == 11_000)
        var rest: [Int] = []
        while let next = queue.popFirst(now: now) { rest.append(next) }
        #expect(rest.sorted() == [-1] + Array(90..<100))
        #expect(rest.filter { $0 >= 0 } == Array(90..<100))
    }

    @Test func `beyond the limit of all, the longest flow loses`() {
        var configuration = Queue.Configuration()
        configuration.totalLimit = 100_000
        var queue = Queue(configuration)
        for number in 0..<20 { queue.append(1000 + number, cost: 1000, flow: 1, now: now) }
        for number in 0..<500 { queue.append(number, cost: 1000, flow: 0, now: now) }
        #expect(queue.weight <= 100_000)
        #expect(queue.takeDropped().allSatisfy { $0 < 1000 })
    }

    @Test func `what has waited too long goes, unless nothing newer is there`() {
        var queue = Queue()
        for number in 0..<10 {
            queue.append(number, cost: 1000, flow: 0, now: now + .milliseconds(UInt64(number) * 50))
        }
        queue.append(99, cost: 1000, flow: 1, now: now)
        let later = now + .milliseconds(560)
        // Those of the last 250 ms, and what is alone.
        #expect((0..<5).map { _ in queue.popFirst(now: later) } == [7, 8, 9, 99, nil])
        #expect(queue.takeDropped() == Array(0..<7))
    }
}
