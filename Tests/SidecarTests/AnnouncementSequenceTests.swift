import Testing
import Timing

@testable import Sidecar

@Suite struct AnnouncementSequenceTests {
    @Test func `a number is the time in milliseconds, and each is above the last`() {
        var sequence = AnnouncementSequence()
        let first = sequence.next(at: WallTime(seconds: 1000, nanoseconds: 5_000_000))
        #expect(first == 1_000_005)
        let second = sequence.next(at: WallTime(seconds: 1000, nanoseconds: 5_000_000))
        #expect(second == 1_000_006)
    }

    @Test func `a clock that goes back does not take the sequence back`() {
        var sequence = AnnouncementSequence()
        var last: UInt64 = 0
        for seconds in [5000, 4000, 10, 0, -5, .min, 6000] as [Int64] {
            let next = sequence.next(at: WallTime(seconds: seconds)) ?? 0
            #expect(next > last)
            last = next
        }
        #expect(last == 6_000_000)
    }

    @Test func `it goes above what the directory has of us`() {
        var sequence = AnnouncementSequence()
        let next = sequence.next(at: WallTime(seconds: 1000), above: 2_000_000)
        #expect(next == 2_000_001)
        let after = sequence.next(at: WallTime(seconds: 1001))
        #expect(after == 2_000_002)
    }

    @Test func `a directory that names an impossible number neither traps it nor uses the numbers up`() {
        var sequence = AnnouncementSequence()
        for known in [.max, .max - 1, 1_000_000 + AnnouncementSequence.foreignLimit] as [UInt64] {
            let next = sequence.next(at: WallTime(seconds: 1000), above: known)
            #expect(next == nil)
        }
        let next = sequence.next(at: WallTime(seconds: 1000))
        #expect(next == 1_000_000)
        // Nor can it be led there step by step in a short time.
        for _ in 0..<10 { _ = sequence.next(at: WallTime(seconds: .max), above: .max) }
        let last = sequence.next(at: WallTime(seconds: .max))
        #expect(last != nil)
    }
}
