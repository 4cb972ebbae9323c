import CLinux
import Glibc
import Linux

/// How many processors this process may use: those it may run on, and what its control group allows
/// (cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us`).
enum ProcessorShare {
    /// Threads for packets: one when there is one processor or less, two otherwise. WARREN_PACKET_THREADS (1 or 2) decides
    /// where it is set.
    static var packetThreads: Int {
        if let text = unsafe getenv("WARREN_PACKET_THREADS"), let count = Int(unsafe String(cString: text)) {
            return min(max(count, 1), 2)
        }
        return processors <= 1 ? 1 : 2
    }

    static var processors: Double {
        // Those that it may run on (sched_getaffinity(2)).
        var share = Double(max(1, Int(CLinux_usable_processors())))
        for limit in limits(of: read("/proc/self/cgroup")) { share = min(share, limit) }
        return share
    }

    /// The limits of the group that `text` (a /proc/PID/cgroup) names, and of those above it. A container sees its own
    /// group as the root.
    private static func limits(of text: String) -> [Double] {
        var limits: [Double] = []
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let isUnified = fields[1].isEmpty
            guard isUnified || fields[1].split(separator: ",").contains("cpu") else { continue }
            var path = fields[2].split(separator: "/").filter { $0 != ".." }
            while true {
                let folder = (isUnified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu") + path.map { "/\($0)" }.joined()
                let limit =
                    isUnified
                    ? parse(read("\(folder)/cpu.max"))
                    : parse(read("\(folder)/cpu.cfs_quota_us") + " " + read("\(folder)/cpu.cfs_period_us"))
                if let limit { limits.append(limit) }
                guard path.popLast() != nil else { break }
            }
        }
        return limits
    }

    /// Quota and period in microseconds: the processors they make; nil for no limit (`max`, or -1).
    static func parse(_ text: String) -> Double? {
        let words = text.split { $0 == " " || $0 == "\n" }
        guard words.count >= 2, let quota = Double(words[0]), let period = Double(words[1]), quota > 0, period > 0
        else {
            return nil
        }
        return quota / period
    }

    private static func read(_ path: String) -> String {
        guard let bytes = try? FileDescriptor(open: path, O_RDONLY).readToEnd(limit: 65536) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
}
