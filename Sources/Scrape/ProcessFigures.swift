import Glibc
import Linux
package import Metrics

/// What each process tells of itself, by the names that Prometheus' client libraries use.
package enum ProcessFigures {
    package static func write(to page: inout Exposition) {
        var own = Exposition(prefix: "process_")
        own.gauge(
            "start_time_seconds", "When the process started, in Unix time.",
            sinceStart.map { seconds(CLOCK_REALTIME) - $0 })
        own.gauge("resident_memory_bytes", "Memory that the process has now.", residentBytes ?? 0)
        own.counter(
            "cpu_seconds_total", "Processor time that the process has used.",
            fraction: seconds(CLOCK_PROCESS_CPUTIME_ID))
        page.append(own)
    }

    /// Seconds since the process was started, to a clock tick.
    package static var sinceStart: Double? {
        guard let text = text("/proc/self/stat"), let end = text.lastIndex(of: ")") else { return nil }
        // The 22nd field; the program's name, which is the second, may have spaces.
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, let ticks = Double(fields[19]) else { return nil }
        return max(0, seconds(CLOCK_BOOTTIME) - ticks / Double(sysconf(Int32(_SC_CLK_TCK))))
    }

    private static var residentBytes: Int? {
        guard let fields = text("/proc/self/statm")?.split(separator: " "), fields.count > 1 else { return nil }
        return Int(fields[1]).map { $0 * sysconf(Int32(_SC_PAGESIZE)) }
    }

    private static func text(_ path: String) -> String? {
        (try? FileDescriptor(open: path, O_RDONLY).readToEnd(limit: 65536)).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        _ = unsafe clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1_000_000_000
    }
}
