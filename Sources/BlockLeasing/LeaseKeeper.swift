import Directory
import Membership
import Sodium
import Synchronization
package import Timing

/// Gets a block for this node and keeps it: from the hub, or the one that a run before has left, renewed at half of its
/// life for as long as it runs. While the hub is away the last block stays, until its lease ends.
package final class LeaseKeeper: Sendable {
    /// Where time comes from; tests give their own.
    package struct Clock: Sendable {
        package var now: @Sendable () -> WallTime
        /// Returns at `until`, or a little later; throws when the task is cancelled.
        package var sleep: @Sendable (_ until: WallTime) async throws -> Void

        package init(
            now: @escaping @Sendable () -> WallTime, sleep: @escaping @Sendable (_ until: WallTime) async throws -> Void
        ) {
            self.now = now
            self.sleep = sleep
        }

        package static let system = Clock(
            now: { WallTime.now() },
            sleep: { until in
                // In pieces, because somebody may set the clock.
                while true {
                    let left = until.seconds - WallTime.now().seconds
                    guard left > 0 else { return }
                    try await Task.sleep(nanoseconds: UInt64(min(left, 60)) * 1_000_000_000)
                }
            })
    }

    private let folder: LeaseFolder
    private let identity: Identity
    private let authority: any BlockAuthority
    private let node: String
    private let clock: Clock
    private let log: @Sendable (String) -> Void
    /// The hub has answered this process.
    private let hasLeased = Atomic(false)

    /// - Parameter node: the node's name, for the hub.
    package init(
        _ folder: consuming LeaseFolder, _ authority: any BlockAuthority, node: String, clock: Clock = .system,
        log: @escaping @Sendable (String) -> Void
    ) throws(LeaseError) {
        identity = try folder.identity()
        self.folder = folder
        self.authority = authority
        self.node = node
        self.clock = clock
        self.log = log
    }

    /// The block to begin with: the last run's while its lease lasts, so that a node needs no hub to start anew; else one
    /// from the hub.
    ///
    /// - Parameter patience: for how many seconds a hub that is out of reach is asked again, where there is no block.
    package func begin(patience: Int64 = 30) async throws(LeaseError) -> HeldBlock {
        let start = clock.now()
        if let stored = folder.lease(), isOurs(stored, at: start) { return stored }
        var backoff = Backoff()
        var random = SecureRandom()
        while true {
            do throws(LeaseError) { return try await lease() } catch {
                let wait = WallTime(seconds: clock.now().seconds + 1 + Int64(backoff.next(using: &random).seconds))
                guard error.isPassing, wait.seconds - start.seconds < patience else { throw error }
                log("lease an address block for node \(node): \(error); trying again")
                do { try await clock.sleep(wait) } catch { throw .hub(.disconnected) }
            }
        }
    }

    /// Renews until the task is cancelled.
    ///
    /// - Parameter changed: told of each renewed lease; and with a lease that has ended, when the hub has given the block up.
    package func keep(_ begun: HeldBlock, changed: (HeldBlock) -> Void) async {
        var (held, schedule, random) = (begun, RenewalSchedule(), SecureRandom())
        let now = clock.now()
        // One of a run before is renewed at once: the hub may have let it go meanwhile.
        var due =
            hasLeased.load(ordering: .relaxed)
            ? schedule.afterSuccess(at: now, expires: held.expires, using: &random) : now
        while true {
            do { try await clock.sleep(due) } catch { return }
            do throws(LeaseError) {
                let renewed = try await lease()
                if renewed.block != held.block {
                    log("the hub gave node \(node) another block: \(renewed.block.ipv6) in place of \(held.block.ipv6)")
                }
                held = renewed
                due = schedule.afterSuccess(at: clock.now(), expires: held.expires, using: &random)
                changed(held)
            } catch {
                if Task.isCancelled { return }
                let now = clock.now()
                due = schedule.afterFailure(at: now, using: &random)
                log(
                    "renew the lease of \(held.block.ipv6), which ends in \(max(0, held.expires.seconds - now.seconds)) s: \(error)"
                )
                if error.isRefusal, held.isLive(at: now) {
                    held = held.ended(at: now)
                    // So that the next run does not begin with it.
                    try? folder.store(held)
                    changed(held)
                }
            }
        }
    }

    private func lease() async throws(LeaseError) -> HeldBlock {
        let name = try authority.name()
        let held = try HeldBlock(
            try await authority.lease(to: identity, name: node), authority: name, node: node)
        try folder.store(held)
        hasLeased.store(true, ordering: .relaxed)
        return held
    }

    /// Whether what was stored is of this node and authority, and lasts. Where the authority can't be told now, it is.
    private func isOurs(_ stored: HeldBlock, at now: WallTime) -> Bool {
        guard stored.node == node, stored.isLive(at: now) else { return false }
        do throws(LeaseError) { return try authority.name() == stored.authority } catch {
            log("\(error); going on with the last lease")
            return true
        }
    }
}
