import Testing
import Timing

@testable import Tunnel

@Suite struct QueueDelayTests {
    /// Datagrams that each waited for so long, one a millisecond; how many are lost in `milliseconds`.
    private func losses(_ waited: (Int) -> Interval, milliseconds: Int) -> [Int] {
        var delay = QueueDelay()
        var lost: [Int] = []
        for step in 0..<milliseconds {
            let now = MonotonicTime(nanoseconds: 1_000_000_000 + UInt64(step) * 1_000_000)
            delay.note(waited(step), now: now)
            if delay.takesOne(now: now) { lost.append(step) }
        }
        return lost
    }

    @Test func `short waits cost nothing`() {
        #expect(losses({ _ in .nanoseconds(190_000) }, milliseconds: 5000).isEmpty)
    }

    @Test func `a long wait now and then costs nothing`() {
        #expect(losses({ $0 % 50 == 0 ? .milliseconds(10) : .zero }, milliseconds: 5000).isEmpty)
    }

    @Test func `a standing queue loses one datagram after the interval, then more and more often`() {
        let lost = losses({ _ in .milliseconds(2) }, milliseconds: 2000)
        #expect(lost.count > 20 && lost.count < 200)
        #expect(lost[0] >= 100 && lost[0] < 250)
        #expect(lost[1] - lost[0] <= 101 && lost.last! - lost[lost.count - 2] < 40)
    }

    @Test func `a queue that empties between is seen by its mean`() {
        #expect(!losses({ $0 % 3 == 0 ? .zero : .milliseconds(1) }, milliseconds: 1000).isEmpty)
    }

    @Test func `losses end with the wait`() {
        let lost = losses({ $0 < 500 ? .milliseconds(2) : .zero }, milliseconds: 3000)
        #expect(lost.allSatisfy { $0 < 750 } && !lost.isEmpty)
    }

    @Test func `after a pause the past is forgotten`() {
        var delay = QueueDelay()
        for step in 0..<90 {
            delay.note(.milliseconds(5), now: MonotonicTime(nanoseconds: 1_000_000_000 + UInt64(step) * 1_000_000))
        }
        let later = MonotonicTime(nanoseconds: 5_000_000_000)
        delay.note(.zero, now: later)
        let isTaken = delay.takesOne(now: later + .seconds(1))
        #expect(!isTaken)
    }
}

@Suite struct QueueDelayPacketTests {
    private func mayLose(_ packet: [UInt8]) -> Bool {
        var packet = packet
        return unsafe packet.withUnsafeMutableBytes { unsafe QueueDelay.mayLose($0) }
    }

    @Test func `only large TCP packets may be lost`() {
        let rest = [UInt8](repeating: 0, count: 1200)
        let header4: [UInt8] = [0x45, 0, 0, 0, 0, 0, 0, 0, 64]
        let header6: [UInt8] = [0x60, 0, 0, 0, 0, 0]
        #expect(mayLose(header4 + [6] + rest) && mayLose(header6 + [6] + rest))
        #expect(!mayLose(header4 + [17] + rest) && !mayLose(header6 + [17] + rest))
        #expect(!mayLose(header4 + [6] + rest.prefix(900)) && !mayLose([]))
    }
}
