import CLinux
import Glibc
package import Linux

/// Going to the background the way wireguard-go does: the parent opens everything that can fail, so that errors are seen
/// at the prompt, and hands the open descriptors to a fresh process image of itself (a process with threads can't fork).
package enum Daemon {
    /// Set in the child: the TUN's and the configuration socket's descriptors, and the pipe that reports "up".
    package static let tunVariable = "WG_TUN_FD"
    package static let configurationVariable = "WG_UAPI_FD"
    static let readyVariable = "WARREN_READY_FD"

    /// Starts `/proc/self/exe` with `arguments` in a session of its own, inheriting the two descriptors, and waits until it
    /// says that it is up. Its output goes to /dev/null unless `LOG_LEVEL` asks for more.
    package static func start(arguments: [String], tun: Int32, configuration: Int32) throws(SystemError) {
        var pipe: [Int32] = [0, 0]
        _ = try check("pipe") { unsafe CLinux_pipe2(&pipe, O_CLOEXEC) }
        let (readEnd, writeEnd) = (pipe[0], pipe[1])
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        // Through numbers above all targets first, so that no dup2 overwrites a source.
        for (source, target) in [(tun, 103), (configuration, 104), (writeEnd, 105)] as [(Int32, Int32)] {
            unsafe posix_spawn_file_actions_adddup2(&actions, source, target)
        }
        for target: Int32 in [3, 4, 5] {
            unsafe posix_spawn_file_actions_adddup2(&actions, target + 100, target)
            unsafe posix_spawn_file_actions_addclose(&actions, target + 100)
        }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        if unsafe getenv("LOG_LEVEL") == nil {
            unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
            unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        }
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        unsafe posix_spawnattr_setflags(&attributes, Int16(0x80))  // POSIX_SPAWN_SETSID

        setenv(tunVariable, "3")
        setenv(configurationVariable, "4")
        setenv(readyVariable, "5")
        var child = pid_t()
        let words = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        let code = unsafe posix_spawn(&child, "/proc/self/exe", &actions, &attributes, words, environ)
        _ = close(writeEnd)
        guard code == 0 else { throw SystemError("posix_spawn /proc/self/exe", Errno(code)) }
        let ready = FileDescriptor(owning: readEnd)
        // End of file without a byte: the child ended before it was up.
        guard try ready.read(upTo: 1).count == 1 else { throw SystemError("start in the background", Errno(ECHILD)) }
    }

    /// A descriptor that the parent handed over, or nil when this process is not such a child.
    package static func inherited(_ variable: String) -> Int32? {
        guard let text = unsafe getenv(variable), let number = Int32(unsafe String(cString: text)) else { return nil }
        unsafe unsetenv(variable)
        _ = CLinux_fcntl(number, F_SETFD, Int(FD_CLOEXEC))
        return number
    }

    /// Tells the waiting parent, if there is one, that the interface is up.
    package static func reportReady() {
        guard let pipe = inherited(readyVariable) else { return }
        try? FileDescriptor(owning: pipe).writeAll([1])
    }

    private static func setenv(_ name: String, _ value: String) { _ = unsafe Glibc.setenv(name, value, 1) }
}
