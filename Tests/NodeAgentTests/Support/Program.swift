import CLinux
import Glibc
import Linux

/// A program that a test talks to: its stdin is a pipe that ends with this value, its stdout is read by lines.
final class Program {
    let pid: pid_t
    private var input: FileDescriptor?
    private let output: FileDescriptor
    private var rest: [UInt8] = []
    private var hasEnded = false

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    init(_ words: [String], environment: [String: String] = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]) throws {
        var ends: [Int32] = [0, 0, 0, 0]
        for half in 0..<2 {
            var pair: [Int32] = [0, 0]
            _ = try check("pipe2") { unsafe CLinux_pipe2(&pair, O_CLOEXEC) }
            ends.replaceSubrange((half * 2)..<(half * 2 + 2), with: pair)
        }
        let inputReader = FileDescriptor(owning: ends[0])
        let inputWriter = FileDescriptor(owning: ends[1])
        let outputReader = FileDescriptor(owning: ends[2])
        let outputWriter = FileDescriptor(owning: ends[3])
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { _ = unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, inputReader.raw, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, outputWriter.raw, 1)
        // Safe: the vectors end with nil, live through the call and are freed after it.
        var argv: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] =
            unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer { unsafe (argv + envp).forEach { unsafe free($0) } }
        var pid: pid_t = 0
        let code = unsafe posix_spawnp(&pid, words[0], &actions, nil, &argv, &envp)
        guard code == 0 else { throw SystemError("start \(words[0])", Errno(code)) }
        self.pid = pid
        input = consume inputWriter
        output = outputReader
    }

    deinit { stop() }

    func write(_ text: String) throws { try input?.writeAll(Array(text.utf8)) }
    func closeInput() { input = nil }

    /// The next line of its stdout; nil when it has closed it. Throws after 20 s.
    func line() throws -> String? {
        var poll = pollfd(fd: output.raw, events: Int16(POLLIN), revents: 0)
        while true {
            if let end = rest.firstIndex(of: 0x0a) {
                defer { rest.removeFirst(end + 1) }
                return String(decoding: rest[..<end], as: UTF8.self)
            }
            guard unsafe Glibc.poll(&poll, 1, 20_000) > 0 else { throw Failure(description: "no line in 20 s") }
            let chunk = try output.read(upTo: 4096)
            if chunk.isEmpty { return nil }
            rest += chunk
        }
    }

    /// Kills it and waits for its end.
    func stop() {
        guard !hasEnded else { return }
        hasEnded = true
        _ = kill(pid, SIGKILL)
        _ = waitpid(pid, nil, 0)
    }

    /// Its exit status, once it ends by itself; throws after 30 s.
    func status() throws -> Int32 {
        var status: Int32 = 0
        for _ in 0..<6000 {
            if unsafe waitpid(pid, &status, WNOHANG) == pid {
                hasEnded = true
                return status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
            }
            usleep(5000)
        }
        throw Failure(description: "process \(pid) still runs after 30 s")
    }

    /// Runs a command to its end; throws when it fails.
    static func run(_ command: String) throws {
        let program = try Program(command.split(separator: " ").map(String.init))
        let status = try program.status()
        guard status == 0 else { throw Failure(description: "\(command): status \(status)") }
    }

    /// A built program, beside the test bundle.
    static func path(_ name: String) throws -> String {
        let own = try FileDescriptor.target(of: "/proc/self/exe")
        let folder = own.split(separator: "/").dropLast().map { "/\($0)" }.joined()
        guard unsafe access("\(folder)/\(name)", X_OK) == 0 else {
            throw Failure(description: "no \(name) in \(folder): build it first")
        }
        return "\(folder)/\(name)"
    }
}
