package import Timing

/// Which unprotected pods are evicted when: each after a moment in which it may still change, few in a minute, and few of
/// one owner at once. Time is a parameter.
package struct EvictionPlan: Sendable {
    /// How long a pod must have been unprotected.
    package static let patience = Interval.seconds(60)
    /// When one that could not be evicted is tried again.
    static let retry = Interval.seconds(60)

    private struct Entry: Sendable {
        let since: MonotonicTime
        var next: MonotonicTime
    }

    private var entries: [String: Entry] = [:]
    private var bucket: TokenBucket
    private let limit: TokenBucket.Limit
    private let share: Int
    private let perMinute: UInt64

    /// - Parameters:
    ///   - perMinute: at most; the first come one by one too.
    ///   - share: of one owner's pods in percent.
    package init(perMinute: UInt64, share: Int, now: MonotonicTime) {
        self.perMinute = perMinute
        self.share = share
        // A bucket flows in whole units a second: so in units of a sixtieth.
        limit = TokenBucket.Limit(perSecond: max(1, perMinute), burst: 60)
        bucket = TokenBucket(full: limit, now: now)
    }

    struct Decision: Equatable, Sendable {
        var evict: [PodView] = []
        /// Unprotected, and nothing would make them anew: only told of.
        var orphans: [PodView] = []
        var next = MonotonicTime.never
    }

    /// What to do now. Pods that are given out are not given out again before `retry`.
    mutating func decide(_ pods: [PodView], now: MonotonicTime) -> Decision {
        var decision = Decision()
        let faulty = pods.filter { $0.fault != nil }
        let known = Set(faulty.map(\.uid))
        entries = entries.filter { known.contains($0.key) }
        for pod in faulty where entries[pod.uid] == nil {
            entries[pod.uid] = Entry(since: now, next: now + Self.patience)
        }
        var byOwner: [String: [PodView]] = [:]
        for pod in pods { if let owner = pod.owner { byOwner[owner, default: []].append(pod) } }
        // Ending, or not ready again after it: these are on their way.
        var onTheirWay: [String: Int] = [:]
        for (owner, pods) in byOwner {
            onTheirWay[owner] = pods.count { $0.isEnding || !$0.isReady && $0.fault == nil }
        }
        for pod in faulty.sorted(by: { ($0.namespace, $0.name) < ($1.namespace, $1.name) }) {
            guard let entry = entries[pod.uid], entry.next <= now else {
                decision.next = min(decision.next, entries[pod.uid]?.next ?? .never)
                continue
            }
            guard let owner = pod.owner else {
                // Once: nothing follows from it.
                entries[pod.uid]?.next = .never
                decision.orphans.append(pod)
                continue
            }
            let allowed = max(1, (byOwner[owner]?.count ?? 1) * share / 100)
            guard onTheirWay[owner, default: 0] < allowed else { continue }
            guard perMinute > 0, bucket.take(60, limit: limit, now: now) else {
                decision.next = min(decision.next, now + .seconds(1))
                continue
            }
            onTheirWay[owner, default: 0] += 1
            entries[pod.uid]?.next = now + Self.retry
            decision.next = min(decision.next, now + Self.retry)
            decision.evict.append(pod)
        }
        return decision
    }
}
