package import Glibc

/// A program started by a test: its stdin, stdout and stderr are files, so that nothing can block on a full pipe.
package struct ChildProcess {
    package let pid: pid_t
    private let folder: ScratchFolder

    package struct Outcome {
        package let status: Int32
        package let output: String
        package let diagnostics: String
    }

    package struct Failure: Error, CustomStringConvertible {
        package let description: String

        package init(description: String) { self.description = description }
    }

    /// - Parameter stdin: a descriptor to read from instead of `input`.
    package init(
        _ path: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String = "",
        stdin: Int32? = nil, stdout: String? = nil
    ) throws {
        folder = try ScratchFolder()
        try folder.write(input, to: "stdin")
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { _ = unsafe posix_spawn_file_actions_destroy(&actions) }
        if let stdin {
            unsafe posix_spawn_file_actions_adddup2(&actions, stdin, 0)
        } else {
            unsafe posix_spawn_file_actions_addopen(&actions, 0, folder.path + "/stdin", O_RDONLY, 0)
        }
        let output = stdout ?? folder.path + "/stdout"
        unsafe posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT, 0o600)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, folder.path + "/stderr", O_WRONLY | O_CREAT, 0o600)
        // Safe: the vectors end with nil, live through the call and are freed after it.
        var argv: [UnsafeMutablePointer<CChar>?] = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] =
            unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer {
            unsafe (argv + envp).forEach { unsafe free($0) }
        }
        var pid: pid_t = 0
        let code = unsafe posix_spawnp(&pid, path, &actions, nil, &argv, &envp)
        guard code == 0 else {
            throw Failure(description: unsafe "start \(path): \(String(cString: strerror(code)))")
        }
        self.pid = pid
    }

    /// Waits for at most 30 s; a program that takes longer is killed, which fails the test.
    package func wait() throws -> Outcome {
        var status: Int32 = 0
        for _ in 0..<6000 {
            let ended = unsafe waitpid(pid, &status, WNOHANG)
            if ended == pid {
                let exit = status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
                return Outcome(
                    status: exit, output: folder.text("stdout"),
                    diagnostics: folder.text("stderr"))
            }
            usleep(5000)
        }
        stop()
        throw Failure(description: "process \(pid) still ran after 30 s")
    }

    /// What it has written to stderr so far.
    package var diagnostics: String { folder.text("stderr") }

    package func stop() {
        _ = kill(pid, SIGKILL)
        _ = waitpid(pid, nil, 0)
    }
}
