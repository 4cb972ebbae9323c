import Glibc

/// One started program: its own process group, standard streams in files, no inherited signal mask.
///
/// Output goes to files rather than pipes, so that nothing blocks however much a program prints. Not safe for
/// concurrent use: the thread that started it waits for it.
package final class ChildProcess {
    package let pid: Int32
    package let words: [String]
    /// Where standard output and standard error went.
    package let outputPath: String
    package let errorPath: String
    private var ended: Int32?

    /// Starts `words` with exactly `environment`, standard input from `input` (a file).
    package init(
        _ words: [String], environment: [String: String], input: String = "/dev/null", output: String, error: String
    ) throws(LabError) {
        self.words = words
        outputPath = output
        errorPath = error
        pid = try Self.spawn(words, environment, input, output, error)
    }

    package var standardOutput: String { readText(outputPath) }
    package var standardError: String { readText(errorPath) }

    /// The exit status, or 128 plus the signal that ended it; nil while it runs. Reaps.
    package func poll() -> Int32? {
        if let ended { return ended }
        var status: Int32 = 0
        guard unsafe waitpid(pid, &status, WNOHANG) == pid else { return nil }
        let signal = status & 0x7f
        ended = signal == 0 ? (status >> 8) & 0xff : 128 + signal
        return ended
    }

    /// What it has in memory now (VmRSS), in KiB; nil once it has ended.
    package var residentKilobytes: Int? {
        let line = readText("/proc/\(pid)/status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line.flatMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } }
    }

    package var isRunning: Bool { poll() == nil }

    /// Waits for the end; past `timeout` seconds kills the whole group and throws.
    @discardableResult
    package func wait(timeout: Double) throws(LabError) -> Int32 {
        let deadline = Clock.now + timeout
        var pause: UInt32 = 500
        while true {
            if let status = poll() { return status }
            if Clock.now > deadline {
                signal(SIGKILL)
                _ = reap()
                throw .timeout(words.joined(separator: " "), seconds: timeout)
            }
            usleep(pause)
            pause = min(pause * 2, 10_000)
        }
    }

    /// Sends `number` to the process alone.
    package func signal(_ number: Int32) { if ended == nil { kill(pid, number) } }

    /// SIGTERM, then SIGKILL after `grace` seconds. Returns the status.
    @discardableResult
    package func stop(grace: Double = 3) -> Int32 {
        signal(SIGTERM)
        let deadline = Clock.now + grace
        while Clock.now < deadline {
            if let status = poll() { return status }
            usleep(2_000)
        }
        signal(SIGKILL)
        return reap()
    }

    private func reap() -> Int32 {
        while true {
            if let status = poll() { return status }
            usleep(1_000)
        }
    }

    private static func spawn(
        _ words: [String], _ environment: [String: String], _ input: String, _ output: String, _ error: String
    ) throws(LabError) -> Int32 {
        guard let program = words.first else { throw .unexpected("no command") }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        let create = O_WRONLY | O_CREAT | O_TRUNC
        unsafe posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, output, create | O_APPEND, 0o644)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, error, create | O_APPEND, 0o644)

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        var variables = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer { unsafe (arguments + variables).forEach { unsafe free($0) } }
        var pid: pid_t = 0
        let result = unsafe posix_spawnp(&pid, program, &actions, &attributes, &arguments, &variables)
        guard result == 0 else { throw .system("start \(program)", errno: result) }
        return pid
    }
}

/// What a finished command left behind.
package struct Output: Sendable {
    package var status: Int32
    package var standardOutput: String
    package var standardError: String
    /// Seconds from start to end.
    package var seconds: Double

    package var succeeded: Bool { status == 0 }
    /// Both streams, for error messages.
    package var text: String {
        [standardOutput, standardError].filter { !$0.isEmpty }.joined(separator: "\n")
    }
}

/// The same, for who knows another type by that name too.
package typealias LabProcess = ChildProcess
