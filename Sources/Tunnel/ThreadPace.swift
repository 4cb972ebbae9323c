import CLinux
import Glibc
import Timing

/// How soon a packet thread runs once it is woken, by how busy it is.
///
/// A thread that has little to do (acknowledgements, questions and answers) asks the scheduler for a short time slice, so
/// that on a busy processor it need not wait for the end of others' (EEVDF, Linux 6.12 and newer; older kernels take no
/// notice). One that moves bulk keeps the system's slice, which costs the fewest switches. One thread.
struct ThreadPace {
    enum Pace { case prompt, steady }

    /// The shortest that the kernel grants.
    private static let promptSlice: UInt64 = 100_000
    private static let window = Interval.milliseconds(10)

    private var windowStart = MonotonicTime.zero
    private var usedBefore: UInt64 = 0
    private(set) var pace = Pace.prompt

    /// On the thread itself, first.
    mutating func begin(now: MonotonicTime) {
        windowStart = now
        usedBefore = Self.processorTime()
        _ = CLinux_set_time_slice(Self.promptSlice)
    }

    /// After each turn, which began at `now`.
    @inline(__always)
    mutating func turned(now: MonotonicTime) {
        if now.since(windowStart) >= Self.window { look(now) }
    }

    private mutating func look(_ now: MonotonicTime) {
        let used = Self.processorTime()
        let next = Self.next(pace, used: used &- usedBefore, of: now.since(windowStart))
        windowStart = now
        usedBefore = used
        guard next != pace else { return }
        pace = next
        _ = CLinux_set_time_slice(next == .prompt ? Self.promptSlice : 0)
    }

    /// The pace after a thread of this pace has used so many nanoseconds of processor time: apart from each other, so that
    /// it does not change back and forth.
    static func next(_ pace: Pace, used: UInt64, of window: Interval) -> Pace {
        switch pace {
        case .prompt: used &* 2 > window.nanoseconds ? .steady : .prompt
        case .steady: used &* 4 < window.nanoseconds ? .prompt : .steady
        }
    }

    private static func processorTime() -> UInt64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }
}
