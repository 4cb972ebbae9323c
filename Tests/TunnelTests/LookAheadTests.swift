import Queues
import Testing
import Timing

@testable import Tunnel

@Suite struct LookAheadTests {
    private func time(_ milliseconds: UInt64) -> MonotonicTime {
        MonotonicTime(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000)
    }

    @Test func `without bulk it never looks further`() {
        var lookAhead = LookAhead()
        lookAhead.note(LookAhead.bulk - 1, now: time(0))
        lookAhead.met(now: time(1))
        #expect(!lookAhead.isOn(now: time(1)))
    }

    @Test func `bulk alone is not a reason`() {
        var lookAhead = LookAhead()
        lookAhead.note(LookAhead.bulk, now: time(0))
        #expect(lookAhead.isAfterBulk(now: time(50)) && !lookAhead.isOn(now: time(0)))
    }

    @Test func `a short packet beside bulk is, for a while`() {
        var lookAhead = LookAhead()
        lookAhead.note(LookAhead.bulk, now: time(0))
        lookAhead.met(now: time(10))
        #expect(lookAhead.isOn(now: time(10)) && lookAhead.isOn(now: time(109)))
        #expect(!lookAhead.isOn(now: time(111)))
        // The bulk has ended meanwhile.
        lookAhead.met(now: time(200))
        #expect(!lookAhead.isOn(now: time(200)))
    }
}

@Suite struct FIFOTests {
    @Test func `first in, first out, around the end of its memory and as it grows`() {
        var queue = FIFO<Int>()
        #expect(queue.isEmpty && queue.popFirst() == nil)
        var next = 0
        var expected = 0
        for round in 0..<20 {
            while queue.count < 1 + round % 13 {
                queue.append(next)
                next += 1
            }
            #expect(Array(queue) == Array(expected..<next))
            #expect(queue.popFirst() == expected)
            expected += 1
        }
        #expect(queue.count == next - expected)
    }
}
