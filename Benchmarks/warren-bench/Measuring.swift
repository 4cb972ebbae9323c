import Glibc

/// This thread's CPU time in nanoseconds: other work on the machine does not count.
func processorTime() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
}

/// With one digit behind the point.
func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
