import CLinux
import Glibc
import Linux

/// Another CNI plugin, run once: the configuration on its stdin, its answer from its stdout, its stderr ours.
///
/// It sees the CNI_* variables and PATH, nothing else of what a runtime leaks.
package struct PluginProcess: Sendable {
    package struct Outcome: Sendable {
        package let output: [UInt8]
        /// The exit status; negative for the signal that ended it.
        package let status: Int32
    }

    /// What a plugin may say; a result is some KiB.
    static let outputLimit = 1 << 20

    package let path: String

    /// Finds the plugin `type` in the first of `folders` that has it.
    package init(type: String, folders: [String]) throws(CNIError) {
        for folder in folders where unsafe access("\(folder)/\(type)", X_OK) == 0 {
            path = "\(folder)/\(type)"
            return
        }
        throw .delegation("find plugin \(type): not in CNI_PATH [\(folders.joined(separator: ":"))]")
    }

    package func run(environment: [String: String], input: [UInt8]) throws(CNIError) -> Outcome {
        do throws(SystemError) { return try spawn(environment, input) } catch {
            throw .delegation("run \(path): \(error)")
        }
    }

    private func spawn(_ environment: [String: String], _ input: [UInt8]) throws(SystemError) -> Outcome {
        // A file and not a pipe: a plugin that reads nothing can't block us.
        let stdin = FileDescriptor(owning: try check("memfd_create") { unsafe CLinux_memfd_create("configuration") })
        try stdin.writeAll(input)
        let source = stdin.raw
        guard lseek(source, 0, SEEK_SET) == 0 else { throw SystemError("lseek", .current) }
        var ends: [Int32] = [-1, -1]
        _ = try check("pipe") { unsafe CLinux_pipe2(&ends, O_CLOEXEC) }
        let output = FileDescriptor(owning: ends[0])
        let pid: pid_t
        do {
            // Ours ends with the scope, or reading would never see the end.
            let sink = FileDescriptor(owning: ends[1])
            pid = try start(environment, stdin: source, stdout: sink.raw)
        }
        var answer: [UInt8] = []
        do throws(SystemError) { answer = try output.readToEnd(limit: Self.outputLimit) } catch {
            kill(pid, SIGKILL)
            var status: Int32 = 0
            _ = try? check("wait") { unsafe waitpid(pid, &status, 0) }
            throw error
        }
        var status: Int32 = 0
        _ = try check("wait") { unsafe waitpid(pid, &status, 0) }
        let signal = status & 0x7f
        return Outcome(output: answer, status: signal == 0 ? status >> 8 & 0xff : -signal)
    }

    private func start(_ environment: [String: String], stdin: Int32, stdout: Int32) throws(SystemError) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { _ = unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, stdin, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, stdout, 1)
        // What is ignored stays so across exec, and SIGPIPE is by us.
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { _ = unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
        // Safe: the vectors end with nil, live through the call and are freed after it.
        var argv: [UnsafeMutablePointer<CChar>?] = unsafe [unsafe strdup(path), nil]
        var envp: [UnsafeMutablePointer<CChar>?] =
            unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer { unsafe (argv + envp).forEach { unsafe free($0) } }
        var pid: pid_t = 0
        let code = unsafe posix_spawn(&pid, path, &actions, &attributes, &argv, &envp)
        guard code == 0 else { throw SystemError("execute", Errno(code)) }
        return pid
    }
}
