import Glibc
import Lab
import Synchronization

/// `warren-node` beside cycles of pods, on a node that is no more than a network namespace: killed now and then at any
/// moment and started again, from its beginning until `settle`.
final class CycleAgent: Sendable {
    /// Where the plugin tells it of attachments, and the store that both use.
    let socket: String
    let store: String
    private let sandbox: Sandbox
    private let node: Namespace
    private let folder: String
    private let state = Mutex(State())

    private enum Phase { case dangerous, settled, ended }

    private struct State {
        var phase = Phase.dangerous
        var kills = 0
        var faults: [String] = []
        var thread: Joinable?
    }

    init(in sandbox: Sandbox, _ node: Namespace) throws {
        self.sandbox = sandbox
        self.node = node
        folder = sandbox.path("agent")
        socket = "\(folder)/run/agent.sock"
        store = "\(folder)/run/cni"
        for name in ["", "/bin", "/net.d", "/run"] { try makeFolder(folder + name) }
        try writeText(Conflist.primaryAlone.text, to: conflist)
    }

    private var conflist: String { "\(folder)/net.d/10-warren.conflist" }

    /// How often it was killed.
    var kills: Int { state.withLock { $0.kills } }

    /// What went wrong: it ended by itself, or left the conflist without our entry.
    var faults: [String] {
        let text = readText(conflist)
        let isWhole = text.contains(#""warren-cni""#) && text.contains(#""ptp""#)
        return state.withLock { $0.faults } + (isWhole ? [] : ["the conflist is \(text)"])
    }

    func start(seed: UInt64) throws {
        let thread = try Joinable(named: "agent") { [self] in
            do { try run(SeededRandom(seed: seed)) } catch { state.withLock { $0.faults.append("\(error)") } }
        }
        state.withLock { $0.thread = thread }
    }

    /// From now on it lives.
    func settle() { state.withLock { $0.phase = .settled } }

    /// SIGTERM, and waits for the end.
    func end() {
        let thread = state.withLock { state in
            state.phase = .ended
            return state.thread
        }
        thread?.join()
    }

    private var phase: Phase { state.withLock { $0.phase } }

    private func run(_ seeded: SeededRandom) throws {
        var (random, process) = (seeded, try launch())
        defer { process.stop() }
        while phase != .ended {
            usleep(UInt32.random(in: 20_000...400_000, using: &random))
            guard process.isRunning else { throw LabError.ended("warren-node", text: process.standardError) }
            guard phase == .dangerous else { continue }
            process.signal(SIGKILL)
            try process.wait(timeout: 10)
            state.withLock { $0.kills += 1 }
            usleep(UInt32.random(in: 0...100_000, using: &random))
            process = try launch()
        }
    }

    private func launch() throws -> ChildProcess {
        try sandbox.spawn([
            "nsenter", "--net=\(node.path)", "\(try Programs.folder())/warren-node", "run", "--mesh", Plan.meshPrefix,
            "--node", "1", "--ipv4-block", Plan.meshIPv4, "--opt-in", "all", "--cni-bin-dir", "\(folder)/bin",
            "--cni-conf-dir", "\(folder)/net.d", "--state-dir", "\(folder)/run",
        ])
    }
}
