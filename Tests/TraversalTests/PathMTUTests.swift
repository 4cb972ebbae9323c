import Testing
import Timing

@testable import Traversal

/// What a path carries, and that no size disappears in it.
@Suite struct PathMTUTests {
    private let start = MonotonicTime(nanoseconds: 1_000_000_000)
    private let wait = Interval.milliseconds(100)

    /// Runs the search on a path that carries `size`; returns the limit that it ends with, and what was sent.
    private func search(ceiling: Int, carries size: Int) -> (limit: Int, probes: [Int]) {
        var mtu = PathMTU(ceiling: ceiling, now: start)
        var now = start
        var probes: [Int] = []
        for _ in 0..<20 {
            let sizes = mtu.due(now: now, wait: wait, isUsed: true)
            probes += sizes
            for probe in sizes where probe <= size { mtu.answer(probe, now: now) }
            if case .confirmed = mtu.phase { break }
            now = max(now, mtu.next)
        }
        return (mtu.limit, probes)
    }

    @Test func `the ceiling is found with one probe where it fits`() {
        #expect(search(ceiling: 1400, carries: 9000) == (1400, [1400]))
        #expect(search(ceiling: 8900, carries: 9000) == (8900, [8900]))
    }

    @Test(arguments: [1280, 1300, 1360, 1399, 1400, 1419, 1420, 1440, 8899])
    func `where it does not fit the largest step that does is found`(_ size: Int) {
        let expected = PathMTU.steps.last { $0 <= size } ?? PathMTU.base
        #expect(search(ceiling: 8900, carries: size).limit == expected)
    }

    @Test func `a path that carries less than IPv6 needs keeps the smallest limit`() {
        #expect(search(ceiling: 1400, carries: 900).limit == 1280)
    }

    @Test func `a black hole is found by two lost confirmations, and a larger path after ten minutes`() {
        var mtu = PathMTU(ceiling: 1420, now: start)
        var now = start
        var carries = 1500
        var limits: [Int] = []
        while now < start + .seconds(1300) {
            for probe in mtu.due(now: now, wait: wait, isUsed: true) where probe <= carries {
                mtu.answer(probe, now: now)
            }
            if limits.last != mtu.limit { limits.append(mtu.limit) }
            if now > start + .seconds(10) { carries = 1370 }
            if now > start + .seconds(600) { carries = 1500 }
            now = max(now + .milliseconds(10), mtu.next)
        }
        #expect(limits == [1420, 1360, 1420])
    }

    @Test func `an idle path is not measured`() {
        var mtu = PathMTU(ceiling: 1400, now: start)
        _ = mtu.due(now: start, wait: wait, isUsed: true)
        mtu.answer(1400, now: start)
        #expect(mtu.due(now: mtu.next, wait: wait, isUsed: false).isEmpty)
        #expect(mtu.next == .never)
        mtu.used(now: start + .seconds(60))
        #expect(mtu.due(now: start + .seconds(60), wait: wait, isUsed: true) == [1400])
    }

    @Test func `on a path that swallows large datagrams the tunnel is told within 10 s`() throws {
        var trial = try PairTrial(.eimAPDF, .open, seed: 31)
        trial.world.weather.loss = 0
        trial.learnNetworks()
        _ = try trial.meet()
        trial.caller.startWork(to: trial.callee.id)
        trial.callee.startWork(to: trial.caller.id)
        trial.world.run(for: .seconds(2))
        #expect(trial.caller.limits[trial.callee.id] == 1400)
        // An outer packet of 1,400 bytes is an inner one of 1,340.
        trial.world.weather.largest = 1400
        trial.world.run(for: .seconds(10))
        #expect(trial.caller.limits[trial.callee.id] == 1280 && trial.callee.limits[trial.caller.id] == 1280)
        #expect(trial.isDirect)
    }
}
