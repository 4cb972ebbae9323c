import Addressing
import Timing

/// What sprays may cost, so that neither a hostile peer nor many of them make us scan others: all peers share one budget,
/// and an address is the target of few large sprays in ten minutes, whoever asks (agents behind one NAT share one).
struct SprayBudget {
    private var probes: TokenBucket
    private var targets: [IPAddress: (since: MonotonicTime, count: Int)] = [:]

    /// Addresses that are remembered; at the limit the oldest gives way.
    private static let memory = 256

    init(now: MonotonicTime) { probes = TokenBucket(full: Limits.nodeSpray, now: now) }

    /// Whether a large spray to `address` may begin; if so, it is noted.
    mutating func begin(to address: IPAddress, now: MonotonicTime) -> Bool {
        if let last = targets[address], now.since(last.since) < Limits.largeSpraySpacing {
            guard last.count < Limits.largeSpraysPerAddress else { return false }
            targets[address]?.count += 1
            return true
        }
        if targets.count >= Self.memory, let oldest = targets.min(by: { $0.value.since < $1.value.since })?.key {
            targets[oldest] = nil
        }
        targets[address] = (now, 1)
        return true
    }

    mutating func take(_ count: Int, now: MonotonicTime) -> Bool {
        probes.take(UInt64(count), limit: Limits.nodeSpray, now: now)
    }
}
