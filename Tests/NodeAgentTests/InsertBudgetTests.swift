import Testing
import Timing

@testable import NodeAgent

@Suite struct InsertBudgetTests {
    @Test func `five times a minute, then ever longer pauses up to a quarter of an hour`() {
        var budget = InsertBudget()
        var (now, taken, pauses): (UInt64, [UInt64], [UInt64]) = (0, [], [])
        // Somebody takes the entry out each second, for two hours.
        while now < 7200 {
            if let until = budget.take(now: .seconds(now)) {
                pauses.append(until.nanoseconds / 1_000_000_000 - now)
                now = until.nanoseconds / 1_000_000_000
            } else {
                taken.append(now)
                now += 1
            }
        }
        #expect(taken.prefix(6) == [0, 1, 2, 3, 4, 65])
        #expect(pauses.prefix(7) == [60, 120, 240, 480, 900, 900, 900])
        for start in taken { #expect(taken.count { $0 >= start && $0 < start + 60 } <= 5) }
    }

    @Test func `peace makes it forget`() {
        var budget = InsertBudget()
        for second in 0..<5 { #expect(budget.take(now: .seconds(UInt64(second))) == nil) }
        #expect(budget.take(now: .seconds(5)) == .seconds(65))
        #expect(budget.take(now: .seconds(64)) == .seconds(65))
        #expect(budget.take(now: .seconds(65)) == nil)
        for second in 0..<4 { #expect(budget.take(now: .seconds(UInt64(1000 + second))) == nil) }
        #expect(budget.take(now: .seconds(1004)) == nil)
        #expect(budget.take(now: .seconds(1005)) == .seconds(1065))
    }
}
