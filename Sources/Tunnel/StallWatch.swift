import Glibc
import Synchronization
package import Timing

/// Whether a tunnel's threads get on with what they have: a thread that has had work for long, and has not ended one turn
/// meanwhile, is stuck. One that waits for work never is, whatever the reason that none comes.
///
/// It costs the threads nothing but a count of their turns: their epoll instances are asked from here whether something
/// in them is ready (epoll(7): an epoll descriptor is readable when events are available).
package struct StallWatch: Sendable {
    /// How long a thread may have work before it is stuck.
    package static let patience = Interval.seconds(3)

    private struct Suspect: Sendable {
        let thread: PacketThread
        let turns: UInt64
    }

    private var suspects: [Suspect]
    private let control: ControlProof
    private let deadline: MonotonicTime

    /// Set by a command on the control thread, or when that has ended.
    final class ControlProof: Sendable {
        private let isGiven = Atomic(false)
        func give() { isGiven.store(true, ordering: .relaxed) }
        var isThere: Bool { isGiven.load(ordering: .relaxed) }
    }

    init(_ threads: [PacketThread], _ control: ControlProof, now: MonotonicTime, patience: Interval) {
        suspects = threads.map { Suspect(thread: $0, turns: $0.turns) }
        self.control = control
        deadline = now + patience
    }

    package enum Verdict: Equatable, Sendable {
        case well
        /// Look again soon.
        case open
        /// This thread is stuck.
        case stuck(String)
    }

    package mutating func look(now: MonotonicTime) -> Verdict {
        suspects.removeAll { $0.thread.turns != $0.turns || !$0.thread.hasWork }
        if suspects.isEmpty, control.isThere { return .well }
        guard now >= deadline else { return .open }
        return .stuck(suspects.first?.thread.name ?? "warren-tunnel")
    }
}

extension TunnelThread where Policy: ~Copyable {
    /// Begins to watch. Safe from any thread.
    package func watchForStalls(patience: Interval = StallWatch.patience) -> StallWatch {
        let control = StallWatch.ControlProof()
        if !performIfOpen({ _, _ in control.give() }) { control.give() }
        return StallWatch(movers, control, now: .now(), patience: patience)
    }

    /// The name of a thread that is stuck; nil when none is.
    package func stalledThread(patience: Interval = StallWatch.patience) async -> String? {
        var watch = watchForStalls(patience: patience)
        var pause: UInt64 = 1_000_000
        while true {
            switch watch.look(now: .now()) {
            case .well: return nil
            case .stuck(let name): return name
            case .open:
                guard (try? await Task.sleep(nanoseconds: pause)) != nil else { return nil }
                pause = min(pause * 2, 100_000_000)
            }
        }
    }

    /// The same, blocking the calling thread, which is none of the tunnel's.
    package func stalledThreadWaiting(patience: Interval = StallWatch.patience) -> String? {
        var watch = watchForStalls(patience: patience)
        var pause: UInt32 = 1000
        while true {
            switch watch.look(now: .now()) {
            case .well: return nil
            case .stuck(let name): return name
            case .open:
                usleep(pause)
                pause = min(pause * 2, 100_000)
            }
        }
    }
}
