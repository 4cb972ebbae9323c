import CNI
import Glibc
package import Linux
package import Scrape
import Synchronization
import Timing

/// The node's agent: its threads, from start to stop. At the stop everything stays in place, plugin, entry and TUNs; only the
/// sockets go, and the next start makes them anew.
package final class NodeService: Sendable {
    package let status: NodeStatus
    /// Where health and metrics are; nil for nowhere.
    package let health: ScrapeServer?
    private let keeper: Keeper
    private let handover: HandoverServer
    private let log: NodeLog
    private let threads = Mutex<[Running]>([])

    /// Opens what can fail at a start: the sockets.
    package init(_ configuration: NodeConfiguration, log: NodeLog) throws(SystemError) {
        let (installer, status) = (Installer(configuration), NodeStatus())
        self.status = status
        self.log = log
        handover = try HandoverServer(configuration, status, log) {
            for file in try installer.withdraw() { log("took our entry out of \(file)") }
        }
        keeper = try Keeper(configuration, installer, status, log)
        if let listen = configuration.listen {
            health = try ScrapeServer(listen: listen) { path in
                let state = status.snapshot
                return switch path {
                case "/healthz": .json(isOK: state.isReady, state.json)
                case "/metrics": .metrics(state.metrics)
                default: nil
                }
            }
        } else {
            health = nil
        }
    }

    /// Starts the threads and returns.
    ///
    /// - Parameter ended: called on a thread that ends although nobody has stopped it.
    package func start(ended: @escaping @Sendable () -> Void = {}) throws(SystemError) {
        try begin("warren-pods", ended) { try self.handover.run() }
        try begin("warren-keeper", ended) { try self.keeper.run() }
        if let health { try begin("warren-health", ended) { try health.run() } }
    }

    /// Has the plugin told something else from now on: `NodeConfiguration.entry`.
    package func change(entry: String) { keeper.change(entry: entry) }

    /// Stops the threads and waits for them.
    package func stop() {
        handover.stop()
        keeper.stop()
        health?.stop()
        for thread in threads.withLock({ $0 }) { thread.join() }
    }

    private func begin(
        _ name: String, _ ended: @escaping @Sendable () -> Void, _ body: @escaping @Sendable () throws -> Void
    ) throws(SystemError) {
        let log = log
        let thread = try Running(named: name) {
            do { try body() } catch {
                log("\(name) ended: \(error)")
                ended()
            }
        }
        threads.withLock { $0.append(thread) }
    }

    /// A thread that can be kept in an array.
    private final class Running: Sendable {
        private let thread: Mutex<Linux.Thread?>

        init(named name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
            let thread = try Linux.Thread(named: name, body)
            self.thread = Mutex(thread)
        }

        func join() {
            guard let running = thread.withLock({ $0.take() }) else { return }
            running.join()
        }
    }
}
