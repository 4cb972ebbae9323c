package import Timing

/// Who may ask the API server now: so many at a time, so many a second, the others in order of arrival, and not without
/// end. A thousand pods that start at once are served one after the other, or told when to come again; the API server never
/// sees more than it is asked to bear.
package actor ReviewQueue {
    package struct Bounds: Sendable {
        package var atOnce = 16
        package var waiting = 1024
        package var rate = TokenBucket.Limit(perSecond: 200, burst: 200)
        /// Who has waited longer has likely gone: agents wait 15 s for an answer.
        package var patience = Interval.seconds(8)

        package init() {}
    }

    private let bounds: Bounds
    private var busy = 0
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var bucket: TokenBucket

    package init(_ bounds: Bounds = Bounds()) {
        self.bounds = bounds
        bucket = TokenBucket(full: bounds.rate, now: .now())
    }

    /// Runs `body` when it is its turn.
    package nonisolated func run<Value: Sendable>(
        _ body: () async throws(ReviewError) -> Value
    ) async throws(ReviewError) -> Value {
        try await enter()
        do throws(ReviewError) {
            let value = try await body()
            await leave()
            return value
        } catch {
            await leave()
            throw error
        }
    }

    private func enter() async throws(ReviewError) {
        let start = MonotonicTime.now()
        if busy < bounds.atOnce {
            busy += 1
        } else {
            guard waiting.count < bounds.waiting else { throw tooMany() }
            // The place is handed over by who leaves it.
            await withCheckedContinuation { waiting.append($0) }
        }
        let delay = bucket.takeAhead(1, limit: bounds.rate, now: .now())
        guard MonotonicTime.now().since(start) + delay < bounds.patience else {
            leave()
            throw tooMany()
        }
        if delay > .zero { try? await Task.sleep(nanoseconds: delay.nanoseconds) }
    }

    private func leave() { if waiting.isEmpty { busy -= 1 } else { waiting.removeFirst().resume() } }

    /// Who comes later finds fewer: spread over what is before them.
    private func tooMany() -> ReviewError {
        let seconds = 2 + UInt64(waiting.count) / max(1, bounds.rate.perSecond / 2)
        return .later(TryLater(seconds: UInt16(clamping: seconds), reason: "many agents join at once"))
    }
}

/// Tokens that the API server has just refused: who comes again with one gets the same answer without a question. Few, and
/// soon forgotten, as a refusal may have been about the moment.
struct RefusedTokens<Key: Hashable & Sendable>: Sendable {
    static var limit: Int { 256 }
    static var life: Interval { .seconds(20) }

    private var refused: [Key: (why: String, until: MonotonicTime)] = [:]
    private var order: [Key] = []

    func reason(_ key: Key, now: MonotonicTime) -> String? {
        refused[key].flatMap { now < $0.until ? $0.why : nil }
    }

    mutating func add(_ key: Key, _ why: String, now: MonotonicTime) {
        if refused.updateValue((why, now + Self.life), forKey: key) == nil { order.append(key) }
        if order.count > Self.limit { refused[order.removeFirst()] = nil }
    }
}
