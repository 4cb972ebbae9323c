import Glibc

/// Programs that tests start; what they say goes through files, so that nothing blocks on a full pipe.
enum Command {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Runs the words in the network namespace at `path`; throws when the program fails.
    @discardableResult
    static func run(_ words: [String], in path: String, input: String = "") throws -> String {
        let folder = try ScratchFolder()
        try folder.write(input, to: "stdin")
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { _ = unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "\(folder.path)/stdin", O_RDONLY, 0)
        for (descriptor, name) in [(1, "stdout"), (2, "stderr")] as [(Int32, String)] {
            unsafe posix_spawn_file_actions_addopen(
                &actions, descriptor, "\(folder.path)/\(name)", O_WRONLY | O_CREAT, 0o600)
        }
        // Safe: the vectors end with nil, live through the call and are freed after it.
        let command: [String] = ["nsenter", "--net=\(path)", "--"] + words
        let environment: [String] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
        var argv: [UnsafeMutablePointer<CChar>?] = unsafe command.map { unsafe strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = unsafe environment.map { unsafe strdup($0) } + [nil]
        defer { unsafe (argv + envp).forEach { unsafe free($0) } }
        var pid: pid_t = 0
        let code = unsafe posix_spawnp(&pid, "/usr/bin/nsenter", &actions, nil, &argv, &envp)
        guard code == 0 else { throw Failure(description: unsafe "start nsenter: \(String(cString: strerror(code)))") }
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            let text = folder.read("stderr")
            throw Failure(description: "\(words.joined(separator: " ")): status \(status): \(text)")
        }
        return folder.read("stdout")
    }
}

/// A folder that goes away with its owner.
final class ScratchFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/warren-test-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw Command.Failure(description: "mkdtemp failed") }
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
        guard file >= 0 else { throw Command.Failure(description: "open \(path)/\(name) failed") }
        defer { _ = close(file) }
        let bytes = Array(text.utf8)
        var offset = 0
        while offset < bytes.count {
            let written = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(file, $0.baseAddress?.advanced(by: offset), bytes.count - offset)
            }
            guard written > 0 else { throw Command.Failure(description: "write \(path)/\(name) failed") }
            offset += written
        }
    }

    /// The file's text, empty when there is none.
    func read(_ name: String) -> String {
        let file = unsafe open("\(path)/\(name)", O_RDONLY)
        guard file >= 0 else { return "" }
        defer { _ = close(file) }
        var text: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let length = unsafe Glibc.read(file, &bytes, bytes.count)
            if length <= 0 { return String(decoding: text, as: UTF8.self) }
            text += bytes.prefix(length)
        }
    }

    /// What is in the folder.
    var names: [String] { Self.names(path).sorted() }

    private static func names(_ path: String) -> [String] {
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
