import Glibc
import Linux
import Synchronization
import TestSupport

/// A node of a test's own: folders, a network namespace with loopback alone, and the built programs in it.
final class ProgramNode: Sendable {
    let folder: ScratchFolder
    let place: ScratchNamespace
    private let running = Mutex<[ChildProcess]>([])

    static let ptp = """
        {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {"type": "host-local"}}]}

        """
    static let environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]

    init() throws {
        folder = try ScratchFolder()
        place = try ScratchNamespace()
        for name in ["bin", "net.d", "run"] { try folder.makeFolder(name) }
        try folder.write(Self.ptp, to: "net.d/10-ptp.conflist")
        _ = try command("/usr/sbin/ip", ["link", "set", "lo", "up"])
    }

    deinit { for process in running.withLock({ $0 }) { process.stop() } }

    var conflist: String { folder.text("net.d/10-ptp.conflist") }

    /// The options that say where things are.
    var places: [String] {
        [
            "--cni-bin-dir", "\(folder.path)/bin", "--cni-conf-dir", "\(folder.path)/net.d", "--state-dir",
            "\(folder.path)/run",
        ]
    }

    /// Starts a program here, which ends with this value at the latest.
    func start(_ program: String, _ words: [String]) throws -> ChildProcess {
        let path = try BuiltProgram.path(program)
        let process = try place.run { try ChildProcess(path, words, environment: Self.environment) }
        running.withLock { $0.append(process) }
        return process
    }

    func command(
        _ path: String, _ words: [String], environment: [String: String] = ProgramNode.environment, input: String = ""
    ) throws -> ChildProcess.Outcome {
        try place.run { try ChildProcess(path, words, environment: environment, input: input) }.wait()
    }

    /// Waits for its end by itself, and takes it off the list of those that are stopped.
    func end(of process: ChildProcess) throws -> ChildProcess.Outcome {
        running.withLock { list in list.removeAll { $0.pid == process.pid } }
        return try process.wait()
    }

    /// SIGKILL.
    func kill(_ process: ChildProcess) {
        running.withLock { list in list.removeAll { $0.pid == process.pid } }
        process.stop()
    }

    /// The body of `target` on the agent's health port, and the HTTP status.
    func get(_ target: String) throws -> (status: String, body: String) {
        let answer = try command(
            "/usr/bin/curl", ["-s", "--max-time", "5", "-w", "\n%{http_code}", "http://127.0.0.1:9809\(target)"])
        let lines = answer.output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        return (lines.last ?? "", lines.dropLast().joined(separator: "\n"))
    }

    func waitUntilReady(_ process: ChildProcess) throws {
        for _ in 0..<400 {
            if try get("/healthz").status == "200" { return }
            usleep(50_000)
        }
        throw ChildProcess.Failure(description: "warren-node is not ready in 20 s: \(process.diagnostics)")
    }
}

/// Runs until `condition` holds, for 20 s at most.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<400 {
        if try condition() { return true }
        usleep(50_000)
    }
    return try condition()
}
