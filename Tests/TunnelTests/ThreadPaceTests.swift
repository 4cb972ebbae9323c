import Testing
import Timing

@testable import Tunnel

@Suite struct ThreadPaceTests {
    private let window = Interval.milliseconds(10)

    @Test func `a thread with little to do is prompt, one that moves bulk is steady`() {
        #expect(ThreadPace.next(.prompt, used: 1_000_000, of: window) == .prompt)
        #expect(ThreadPace.next(.prompt, used: 9_000_000, of: window) == .steady)
        #expect(ThreadPace.next(.steady, used: 9_000_000, of: window) == .steady)
        #expect(ThreadPace.next(.steady, used: 1_000_000, of: window) == .prompt)
    }

    @Test(arguments: [ThreadPace.Pace.prompt, .steady]) func `between a quarter and a half it stays as it is`(
        _ pace: ThreadPace.Pace
    ) {
        #expect(ThreadPace.next(pace, used: 3_500_000, of: window) == pace)
    }
}
