import Glibc
import Lab
import Synchronization

/// Sandboxes that are run, looked at and removed, a few at a time, whatever befalls the runtime meanwhile.
final class SandboxLives: Sendable {
    private let cri: CRI
    private let parent: String
    private let count: Int
    private let state = Mutex(State())

    private struct State {
        var worker: Joinable?
        var failures = 0
        var hasEnded = false
        /// Which sandbox has an address now.
        var live: [String: String] = [:]
        var duplicates: [String] = []
    }

    init(_ cri: CRI, parent: String, count: Int) {
        self.cri = cri
        self.parent = parent
        self.count = count
    }

    var failures: Int { state.withLock { $0.failures } }
    var haveEnded: Bool { state.withLock { $0.hasEnded } }
    /// Addresses that two sandboxes had at a time.
    var duplicates: [String] { state.withLock { $0.duplicates } }

    func start() throws {
        let worker = try Joinable(named: "sandboxes") { [self] in
            try? concurrently(count, width: 4) { [self] index in live(index) }
            state.withLock { $0.hasEnded = true }
        }
        state.withLock { $0.worker = worker }
    }

    func join() throws { state.withLock { $0.worker }?.join() }

    private func live(_ index: Int) {
        do {
            let id = try cri.runSandbox(SandboxConfiguration(name: "pod-\(index)", parent: parent))
            let addresses = try cri.network(of: id).mesh
            state.withLock { state in
                for address in addresses {
                    if let other = state.live[address] { state.duplicates.append("\(address) of \(other) and \(id)") }
                    state.live[address] = id
                }
            }
            usleep(100_000)
            // Before the addresses can be given to another.
            state.withLock { state in for address in addresses { state.live[address] = nil } }
            try cri.stopSandbox(id)
            try cri.removeSandbox(id)
        } catch {
            state.withLock { $0.failures += 1 }
        }
    }
}
