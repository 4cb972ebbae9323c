import Glibc
import Linux

/// A thread that stands still until it is let go, while the others of its process go on: stopped as a debugger does it
/// (ptrace(2)). SIGSTOP would stop them all.
package final class StoppedThread {
    private let tracer: Tracer

    /// - Parameter id: as in /proc/PID/task.
    package init(_ id: Int32) throws {
        tracer = try Tracer([
            "python3", "-c",
            """
            import ctypes, os, sys
            libc = ctypes.CDLL(None, use_errno=True)
            libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
            for request in (0x4206, 0x4207): # PTRACE_SEIZE, PTRACE_INTERRUPT
                if libc.ptrace(request, int(sys.argv[1]), None, None) != 0: sys.exit(os.strerror(ctypes.get_errno()))
            os.waitpid(int(sys.argv[1]), 0x40000000) # __WALL
            print("stopped", flush=True)
            sys.stdin.read()
            """,
            "\(id)",
        ])
        guard tracer.line() == "stopped" else { throw NotStopped(id: id) }
    }

    /// The tracer's end lets it go.
    package func release() { tracer.end() }

    deinit { tracer.end() }

    package struct NotStopped: Error { package let id: Int32 }

    /// The thread of process `pid` that has this name, and its network namespace.
    package static func id(named name: String, of pid: Int32, in namespace: String? = nil) -> Int32? {
        let wanted = namespace.flatMap { try? FileDescriptor.target(of: $0) }
        return ScratchFolder.names("/proc/\(pid)/task").first { task in
            let path = "/proc/\(pid)/task/\(task)"
            let comm = (try? FileDescriptor(open: "\(path)/comm", O_RDONLY).readToEnd(limit: 64)) ?? []
            return String(decoding: comm, as: UTF8.self) == name + "\n"
                && (wanted == nil || (try? FileDescriptor.target(of: "\(path)/ns/net")) == wanted)
        }.flatMap { Int32($0) }
    }

    /// A child with pipes to its standard input and from its output.
    private final class Tracer {
        private var pid: pid_t = 0
        private var input: Int32
        private let output: Int32

        init(_ words: [String]) throws {
            var (into, out): ([Int32], [Int32]) = ([0, 0], [0, 0])
            _ = try check("pipe") { unsafe pipe(&into) }
            _ = try check("pipe") { unsafe pipe(&out) }
            for end in [into[1], out[0]] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            var actions = unsafe posix_spawn_file_actions_t()
            unsafe posix_spawn_file_actions_init(&actions)
            defer { unsafe posix_spawn_file_actions_destroy(&actions) }
            unsafe posix_spawn_file_actions_adddup2(&actions, into[0], 0)
            unsafe posix_spawn_file_actions_adddup2(&actions, out[1], 1)
            unsafe posix_spawn_file_actions_addclose(&actions, into[0])
            unsafe posix_spawn_file_actions_addclose(&actions, out[1])
            var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
            defer { unsafe arguments.forEach { unsafe free($0) } }
            let code = unsafe posix_spawnp(&pid, words[0], &actions, nil, &arguments, environ)
            for end in [into[0], out[1]] { close(end) }
            (input, output) = (into[1], out[0])
            guard code == 0 else { throw SystemError("start \(words[0])", Errno(code)) }
        }

        func line() -> String {
            var (text, byte): (String, UInt8) = ("", 0)
            while unsafe read(output, &byte, 1) == 1, byte != 0x0a { text.unicodeScalars.append(.init(byte)) }
            return text
        }

        func end() {
            guard input >= 0 else { return }
            close(input)
            input = -1
            kill(pid, SIGKILL)
            _ = waitpid(pid, nil, 0)
            close(output)
        }
    }
}
