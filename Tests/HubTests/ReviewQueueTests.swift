import Membership
import Synchronization
import Testing
import Timing

@testable import Hub

@Suite struct ReviewQueueTests {
    @Test func `so many at a time, all of them in the end`() async throws {
        var bounds = ReviewQueue.Bounds()
        bounds.atOnce = 4
        bounds.rate = .init(perSecond: 100_000, burst: 100_000)
        let queue = ReviewQueue(bounds)
        let busy = Busy()
        let done = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<500 {
                group.addTask {
                    let value: Bool? = try? await queue.run { () async throws(ReviewError) in
                        busy.enter()
                        try? await Task.sleep(nanoseconds: 200_000)
                        busy.leave()
                        return true
                    }
                    return value ?? false
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(done == 500)
        #expect((2...4).contains(busy.most))
    }

    @Test func `who would wait too long is told when to come again`() async throws {
        var bounds = ReviewQueue.Bounds()
        bounds.rate = .init(perSecond: 1, burst: 1)
        bounds.patience = .milliseconds(300)
        let queue = ReviewQueue(bounds)
        #expect(try await queue.run { () async throws(ReviewError) in 1 } == 1)
        let error = await #expect(throws: ReviewError.self) {
            try await queue.run { () async throws(ReviewError) in 2 }
        }
        guard case .later(let later) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(later.seconds >= 2)
    }

    @Test func `a full queue takes nobody in, and a failure frees its place`() async throws {
        var bounds = ReviewQueue.Bounds()
        (bounds.atOnce, bounds.waiting) = (1, 0)
        let queue = ReviewQueue(bounds)
        let (entered, enter) = AsyncStream<Void>.makeStream()
        let (left, leave) = AsyncStream<Void>.makeStream()
        let first = Task {
            try await queue.run { () async throws(ReviewError) -> Int in
                enter.yield()
                for await _ in left { break }
                throw .refused(.wrongToken)
            }
        }
        for await _ in entered { break }
        await #expect(throws: ReviewError.self) { try await queue.run { () async throws(ReviewError) in 2 } }
        leave.yield()
        await #expect(throws: ReviewError.refused(.wrongToken)) { try await first.value }
        #expect(try await queue.run { () async throws(ReviewError) in 3 } == 3)
    }

    @Test func `refused tokens are remembered, few and not for long`() {
        var refused = RefusedTokens<Int>()
        let start = MonotonicTime(nanoseconds: 1)
        for key in 0..<1000 { refused.add(key, "no", now: start) }
        #expect((0..<1000).count { refused.reason($0, now: start) != nil } == RefusedTokens<Int>.limit)
        #expect(refused.reason(999, now: start) == "no")
        #expect(refused.reason(999, now: start + RefusedTokens<Int>.life) == nil)
    }
}

/// How many are in at a time.
private final class Busy: Sendable {
    private let state = Mutex((now: 0, most: 0))

    var most: Int { state.withLock { $0.most } }

    func enter() {
        state.withLock {
            $0.now += 1
            $0.most = max($0.most, $0.now)
        }
    }

    func leave() { state.withLock { $0.now -= 1 } }
}
