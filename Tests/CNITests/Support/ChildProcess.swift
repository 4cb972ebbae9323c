import Glibc

/// A program started by a test: its stdin, stdout and stderr are files, so that nothing can block on a full pipe.
struct ChildProcess {
    let pid: pid_t
    private let folder: ScratchFolder

    struct Outcome {
        let status: Int32
        let output: String
        let diagnostics: String
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// - Parameter stdin: a descriptor to read from instead of `input`.
    init(
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
            for unsafepointer in unsafe argv + envp { unsafe free(pointer) }
        }
        var pid: pid_t = 0
        let code = unsafe posix_spawnp(&pid, path, &actions, nil, &argv, &envp)
        guard code == 0 else {
            throw Failure(description: unsafe "start \(path): \(String(cString: strerror(code)))")
        }
        self.pid = pid
    }

    /// Waits for at most 30 s; a program that takes longer is killed, which fails the test.
    func wait() throws -> Outcome {
        var status: Int32 = 0
        for _ in 0..<6000 {
            let ended = unsafe waitpid(pid, &status, WNOHANG)
            if ended == pid {
                let exit = status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
                return Outcome(status: exit, output: folder.read("stdout"), diagnostics: folder.read("stderr"))
            }
            usleep(5000)
        }
        stop()
        throw Failure(description: "process \(pid) still ran after 30 s")
    }

    func stop() {
        _ = kill(pid, SIGKILL)
        _ = waitpid(pid, nil, 0)
    }
}

/// A folder that goes away with its owner.
final class ScratchFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/warren-test-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw ChildProcess.Failure(description: "mkdtemp failed") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        // No symbolic link is ever made inside, so the walk stays inside.
        func remove(_ path: String) {
            if unsafe unlink(path) == 0 { return }
            for name in ScratchFolder.names(path) { remove("\(path)/\(name)") }
            _ = unsafe rmdir(path)
        }
        remove(path)
    }

    func write(_ text: String, to name: String) throws {
        let file = unsafe open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0 else { throw ChildProcess.Failure(description: "open \(path)/\(name) failed") }
        defer { _ = close(file) }
        let bytes = Array(text.utf8)
        guard unsafe Glibc.write(file, bytes, bytes.count) == bytes.count else {
            throw ChildProcess.Failure(description: "write \(path)/\(name) failed")
        }
    }

    /// The file's text, empty when there is none.
    func read(_ name: String) -> String {
        let file = unsafe open("\(path)/\(name)", O_RDONLY)
        guard file >= 0 else { return "" }
        defer { _ = close(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let length = unsafe Glibc.read(file, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(length, 0)), as: UTF8.self)
    }

    func names(_ folder: String) -> [String] { Self.names("\(path)/\(folder)").sorted() }

    /// What is in a folder; nothing when there is none.
    static func names(_ path: String) -> [String] {
        guard let folder = unsafe opendir(path) else { return [] }
        defer { _ = unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}
