package import Timing

/// When a lease is to be renewed: at half of its life, and after a failure with a delay that doubles, each a little at
/// random, so that the nodes of a hub that was away do not come back all at once.
package struct RenewalSchedule: Sendable {
    package static let first: Int64 = 5
    package static let limit: Int64 = 300

    private var ceiling = first

    package init() {}

    /// Between 45 % and 55 % of what is left of the lease.
    package mutating func afterSuccess(
        at now: WallTime, expires: WallTime, using random: inout some RandomNumberGenerator
    ) -> WallTime {
        ceiling = Self.first
        let left = max(expires.seconds - now.seconds, 2 * Self.first)
        return WallTime(seconds: now.seconds + left * Int64.random(in: 450...550, using: &random) / 1000)
    }

    /// Between half of the delay and all of it.
    package mutating func afterFailure(at now: WallTime, using random: inout some RandomNumberGenerator) -> WallTime {
        defer { ceiling = min(ceiling * 2, Self.limit) }
        let delay = Int64.random(in: (ceiling + 1) / 2...ceiling, using: &random)
        return WallTime(seconds: now.seconds + delay)
    }
}
