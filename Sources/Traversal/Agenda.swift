import Timing

/// When the first of all peers has something due, so that a turn of the packet loop costs the same however many peers
/// there are. May be early, never late: timers that move back are found out at the next tick.
struct Agenda {
    private(set) var earliest = MonotonicTime.never

    mutating func note(_ time: MonotonicTime) { earliest = min(earliest, time) }

    mutating func restart(at time: MonotonicTime) { earliest = time }
}
