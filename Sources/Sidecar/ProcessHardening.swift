import CLinux

/// What the process gives up before it holds a secret.
enum ProcessHardening {
    /// No core file is written, and no process of the same user reads this one's memory (prctl(2), PR_SET_DUMPABLE).
    static func forbidDumps() { _ = CLinux_prctl(CLinux_PR_SET_DUMPABLE, 0) }
}
