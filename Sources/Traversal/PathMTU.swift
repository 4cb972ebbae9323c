package import Timing

/// What a path carries, found by probes of that size on the path itself (DPLPMTUD, RFC 8899).
///
/// Sizes are those of inner packets: a datagram of the tunnel has 32 bytes more. The interface's MTU is tried first, because it
/// nearly always fits; where it does not, all smaller steps at once. A size that was answered is confirmed again while the
/// path is used: two that are lost, while small probes are answered, are a black hole. A value, owned by one peer.
package struct PathMTU: Equatable, Sendable {
    /// Inner sizes that paths are likely to carry: what IPv6 demands, tunnels in tunnels, PPPoE, Ethernet by IPv6 and by
    /// IPv4, jumbo frames.
    package static let steps = [1280, 1360, 1400, 1420, 1440, 8900]
    package static let base = 1280
    /// What every path is taken to carry until it is measured: 1500 less IPv6 and UDP, the tunnel and a relay header.
    package static let assumed = 1400
    static let tries = 2
    static let confirmSpacing = Interval.seconds(3)
    /// PMTU_RAISE_TIMER.
    static let raiseSpacing = Interval.seconds(600)

    /// The UDP payload that an inner packet of this size becomes.
    package static func payload(of size: Int) -> Int { size + 32 }

    package enum Phase: Equatable, Sendable {
        /// Sizes that are out: how often each was sent.
        case searching([Int], tries: Int)
        /// The limit was answered and is asked again at times; how many were not answered in a row.
        case confirmed(lost: Int)
    }

    package let ceiling: Int
    /// The largest size that was answered; 0 for none yet.
    package private(set) var answered = 0
    /// The largest inner packet that the path is used for.
    package private(set) var limit: Int
    package private(set) var phase: Phase
    package private(set) var next: MonotonicTime
    private var raiseAt = MonotonicTime.never
    private var isWaiting = false

    /// Starts with the ceiling.
    package init(ceiling: Int, now: MonotonicTime) {
        self.ceiling = max(ceiling, Self.base)
        limit = min(self.ceiling, Self.assumed)
        phase = .searching([self.ceiling], tries: 0)
        next = now
    }

    /// The sizes to probe now. `wait` is how long an answer takes at most; `isUsed` whether data flows, without which nothing is
    /// asked.
    package mutating func due(now: MonotonicTime, wait: Interval, isUsed: Bool) -> [Int] {
        guard next <= now else { return [] }
        let wait = max(wait, .milliseconds(100))
        switch phase {
        case .searching(let sizes, let tries) where tries < Self.tries:
            phase = .searching(sizes, tries: tries + 1)
            next = now + wait
            return sizes
        case .searching(let sizes, _):
            if answered == 0, sizes == [ceiling], ceiling > Self.base {
                phase = .searching(Self.steps.filter { $0 < ceiling }, tries: 0)
                return due(now: now, wait: wait, isUsed: isUsed)
            }
            limit = max(answered, Self.base)
            phase = .confirmed(lost: 0)
            raiseAt = limit < ceiling ? now + Self.raiseSpacing : .never
            next = now + Self.confirmSpacing
            return []
        case .confirmed(let lost):
            guard isUsed else {
                next = .never
                return []
            }
            if isWaiting {
                // The last one was not answered.
                isWaiting = false
                guard lost + 1 < Self.tries else {
                    restart(now: now)
                    return due(now: now, wait: wait, isUsed: isUsed)
                }
                phase = .confirmed(lost: lost + 1)
            } else if raiseAt <= now {
                raise(now: now)
                return due(now: now, wait: wait, isUsed: isUsed)
            }
            isWaiting = true
            next = now + wait
            return [limit]
        }
    }

    /// A probe of this size was answered.
    package mutating func answer(_ size: Int, now: MonotonicTime) {
        answered = max(answered, size)
        switch phase {
        case .searching(let sizes, _):
            limit = size > limit || sizes != [ceiling] ? max(answered, Self.base) : limit
            guard size == sizes.max() else { return }
            limit = size
            phase = .confirmed(lost: 0)
            raiseAt = limit < ceiling ? now + Self.raiseSpacing : .never
        case .confirmed:
            guard size == limit else { return }
            phase = .confirmed(lost: 0)
        }
        isWaiting = false
        next = now + Self.confirmSpacing
    }

    /// Data flows again.
    package mutating func used(now: MonotonicTime) {
        if next == .never { next = now }
    }

    /// The limit is not carried any more.
    private mutating func restart(now: MonotonicTime) {
        answered = 0
        let smaller = Self.steps.filter { $0 < limit }
        phase = smaller.isEmpty ? .confirmed(lost: 0) : .searching(smaller, tries: 0)
        next = smaller.isEmpty ? now + Self.confirmSpacing : now
    }

    private mutating func raise(now: MonotonicTime) {
        raiseAt = .never
        let larger = Self.steps.filter { $0 > limit && $0 < ceiling } + [ceiling]
        phase = .searching(larger, tries: 0)
        next = now
    }
}
