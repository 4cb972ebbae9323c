import CLinux
import Glibc
import Linux
import Timing

/// One call of the plugin, as a runtime makes it: environment and stdin in, JSON out.
enum PluginCall {
    struct Answer {
        let status: Int32
        let output: [UInt8]

        /// The text of an error object.
        var message: String {
            guard let json = JSONText(output)?.root else { return "no JSON on stdout" }
            return json["msg"]?.text ?? "no message"
        }
    }

    private static let limit = Interval.seconds(5)
    private static let outputLimit = 65536

    /// Has the program say that it speaks CNI 1.0.0.
    static func version(of path: String) throws(InstallerError) {
        let answer = try run(path, "VERSION", #"{"cniVersion":"1.0.0"}"#)
        let versions = JSONText(answer.output)?.root["supportedVersions"]?.elements?.compactMap(\.text) ?? []
        guard answer.status == 0, versions.contains("1.0.0") else {
            throw .plugin("run \(path) VERSION: status \(answer.status), versions [\(versions.joined(separator: ","))]")
        }
    }

    /// Asks whether an ADD could succeed now.
    ///
    /// - Parameter entry: our entry of the list of network `network`.
    static func status(of path: String, entry: String, network: String) throws(InstallerError) {
        let configuration = configuration(entry: entry, network: network)
        let answer = try run(path, "STATUS", configuration)
        guard answer.status == 0 else { throw .plugin("run \(path) STATUS: \(answer.message)") }
    }

    /// What the runtime makes of an entry of its list: it puts these two members into each plugin's configuration.
    static func configuration(entry: String, network: String) -> String {
        #"{"cniVersion":"1.1.0","name":\#(JSONText.quoted(network)),"# + entry.dropFirst()
    }

    private static func run(_ path: String, _ verb: String, _ input: String) throws(InstallerError) -> Answer {
        do throws(SystemError) {
            let environment = ["CNI_COMMAND": verb, "CNI_PATH": "/opt/cni/bin"]
            return try start(path, environment, Array(input.utf8), deadline: MonotonicTime.now() + limit)
        } catch { throw .plugin("run \(path) \(verb): \(error)") }
    }

    private static func start(
        _ path: String, _ environment: [String: String], _ input: [UInt8], deadline: MonotonicTime
    ) throws(SystemError) -> Answer {
        let (input0, input1) = try pipe()
        let inputReader = FileDescriptor(owning: input0)
        let inputWriter = FileDescriptor(owning: input1)
        let (output0, output1) = try pipe()
        let outputReader = FileDescriptor(owning: output0)
        let outputWriter = FileDescriptor(owning: output1)
        // Less than a pipe holds, so it is there before anybody reads, or ends without reading.
        try inputWriter.writeAll(input)
        let pid = try spawn(path, environment, stdin: inputReader.raw, stdout: outputWriter.raw, deadline)
        close(consume inputReader, consume inputWriter, consume outputWriter)
        var output: [UInt8] = []
        var poll = pollfd(fd: outputReader.raw, events: Int16(POLLIN), revents: 0)
        while true {
            let left = deadline.since(.now())
            guard unsafe Glibc.poll(&poll, 1, Int32(clamping: Int(left.milliseconds))) > 0,
                output.count <= outputLimit
            else {
                _ = kill(pid, SIGKILL)
                _ = waitpid(pid, nil, 0)
                throw SystemError("wait for process \(pid)", Errno(ETIMEDOUT))
            }
            let chunk = try outputReader.read(upTo: 65536)
            if chunk.isEmpty { break }
            output += chunk
        }
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) != pid { if Errno.current != .interrupted { break } }
        return Answer(status: status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f), output: output)
    }

    private static func close(_: consuming FileDescriptor, _: consuming FileDescriptor, _: consuming FileDescriptor) {}

    /// A reader and a writer, which the caller owns.
    private static func pipe() throws(SystemError) -> (Int32, Int32) {
        var ends: [Int32] = [0, 0]
        _ = try check("pipe2") { unsafe CLinux_pipe2(&ends, O_CLOEXEC) }
        return (ends[0], ends[1])
    }

    private static func spawn(
        _ path: String, _ environment: [String: String], stdin: Int32, stdout: Int32, _ deadline: MonotonicTime
    ) throws(SystemError) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { _ = unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, stdin, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, stdout, 1)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { _ = unsafe posix_spawnattr_destroy(&attributes) }
        // This process blocks the signals that it waits for; its children must not.
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        // Safe: the vectors end with nil, live through the call and are freed after it.
        var argv: [UnsafeMutablePointer<CChar>?] = unsafe [strdup(path), nil]
        var envp: [UnsafeMutablePointer<CChar>?] =
            unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer { unsafe (argv + envp).forEach { unsafe free($0) } }
        while true {
            var pid: pid_t = 0
            let code = unsafe posix_spawn(&pid, path, &actions, &attributes, &argv, &envp)
            if code == 0 { return pid }
            // A copy just written may still be open in a child of another thread that has not yet become its program.
            guard code == ETXTBSY, MonotonicTime.now() < deadline else {
                throw SystemError("start \(path)", Errno(code))
            }
            usleep(20_000)
        }
    }
}
