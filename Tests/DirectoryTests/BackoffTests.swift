import Testing
import Timing

@testable import Directory

@Suite struct BackoffTests {
    /// Always the highest number, so that each delay is its limit.
    private struct Highest: RandomNumberGenerator {
        mutating func next() -> UInt64 { .max }
    }

    @Test func `limits double from a quarter second to half a minute`() {
        var backoff = Backoff()
        var random = Highest()
        let seconds = (0..<9).map { _ in (backoff.next(using: &random).seconds * 4).rounded() / 4 }
        #expect(seconds == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30])
        backoff.reset()
        #expect((backoff.next(using: &random).seconds * 4).rounded() / 4 == 0.25)
    }

    @Test func `delays are spread over all of the range`() {
        var random = SystemRandomNumberGenerator()
        let delays = (0..<1000).map { _ -> Double in
            var backoff = Backoff()
            return backoff.next(using: &random).seconds
        }
        #expect(delays.contains { $0 < 0.05 } && delays.contains { $0 > 0.2 })
        #expect(delays.allSatisfy { $0 <= 0.25 })
    }
}
