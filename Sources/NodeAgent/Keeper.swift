import CNI
import Glibc
import Linux
import Timing

/// The agent's thread for the node: it keeps plugin and entry in place, asks the plugin how it is, and frees what dead pods left.
final class Keeper: Sendable {
    private static let poll = Interval.seconds(30)
    private static let quarrel = Interval.seconds(1)
    private static let statusInterval = Interval.seconds(10)
    private static let reconcileInterval = Interval.seconds(5)
    /// Changes come in bursts: a temporary file, a rename, a mode.
    private static let settle: UInt32 = 50_000

    private let configuration: NodeConfiguration
    private let installer: Installer
    private let status: NodeStatus
    private let log: NodeLog
    private let stopping: EventFD
    private let changed: EventFD

    init(
        _ configuration: NodeConfiguration, _ installer: Installer, _ status: NodeStatus, _ log: NodeLog
    ) throws(SystemError) {
        self.configuration = configuration
        self.installer = installer
        self.status = status
        self.log = log
        stopping = try EventFD()
        changed = try EventFD()
    }

    func stop() { stopping.signal() }

    /// Puts another entry in place of ours, at once.
    func change(entry: String) {
        installer.entry = entry
        changed.signal()
    }

    /// Works until `stop`, and leaves everything in place.
    func run() throws(SystemError) {
        let epoll = try Epoll()
        let watch = try FolderWatch()
        try epoll.add(stopping.raw, .read, token: 0)
        try epoll.add(watch.raw, .read, token: 1)
        try epoll.add(changed.raw, .read, token: 2)
        var (nextLook, nextStatus, nextReconcile) = (MonotonicTime.zero, MonotonicTime.zero, MonotonicTime.zero)
        var outcome = Installer.Outcome.waiting("starting")
        while true {
            let now = MonotonicTime.now()
            if now >= nextLook {
                // Before the look: what changes during it wakes us again.
                for folder in [configuration.confFolder, configuration.binFolder] { watch.watch(folder) }
                watch.drain()
                let before = outcome
                outcome = installer.ensure(now: now)
                report(outcome, before)
                nextLook = .now() + (outcome.isSettled ? Self.poll : Self.quarrel)
                if outcome != before { nextStatus = .zero }
            }
            if now >= nextStatus {
                askPlugin(outcome)
                nextStatus = .now() + Self.statusInterval
            }
            if now >= nextReconcile {
                reconcile()
                count(outcome)
                nextReconcile = .now() + Self.reconcileInterval
            }
            let wait = min(nextLook, nextStatus, nextReconcile).since(.now())
            for event in try epoll.wait(timeout: wait) {
                switch event.token {
                case 0: return
                case 2:
                    changed.drain()
                    (nextLook, nextStatus) = (.zero, .zero)
                default:
                    usleep(Self.settle)
                    nextLook = .zero
                }
            }
        }
    }

    private func report(_ outcome: Installer.Outcome, _ before: Installer.Outcome) {
        status.change { state in
            state.installer = outcome
            switch outcome {
            case .installed(_, _, inserted: true): state.inserts += 1
            case .conflict where !before.isConflict: state.conflicts += 1
            case .failed where outcome != before: state.failures += 1
            default: break
            }
        }
        switch outcome {
        case .installed(let file, _, inserted: true): log("put our entry into \(file)")
        case .conflict(let text) where !before.isConflict: log("conflict: \(text)")
        case .waiting(let text) where outcome != before: log("waiting: \(text)")
        case .failed(let text) where outcome != before: log("\(text)")
        default: break
        }
    }

    private func askPlugin(_ outcome: Installer.Outcome) {
        guard case .installed(_, let network, _) = outcome else { return }
        var fault: String?
        do throws(InstallerError) {
            try PluginCall.status(of: installer.binary.path, entry: installer.entry, network: network)
        } catch { fault = "\(error)" }
        let before = status.snapshot.pluginFault
        status.change {
            $0.pluginFault = fault
            $0.pluginCalls[fault == nil, default: 0] += 1
        }
        if let fault, fault != before { log(fault) }
    }

    /// What the node has given out. An entry that can't be read is the plugin's to complain about.
    private func count(_ outcome: Installer.Outcome) {
        guard case .installed(_, let network, _) = outcome else { return }
        let conf = PluginCall.configuration(entry: configuration.entry, network: network)
        guard let usage = try? AddressUsage(configuration: Array(conf.utf8)) else { return }
        status.change { $0.usage = usage }
    }

    private func reconcile() {
        let report = Reconciler(dataDir: configuration.dataFolder, root: configuration.hostRoot)
            .run(now: WallTime.now().seconds)
        status.change { $0.reconciled += report.attachments.count }
        for record in report.attachments { log("freed what \(record.subject) left: its network namespace is gone") }
        for address in report.strays { log("freed \(address): no attachment has it") }
        for fault in report.faults { log(fault) }
    }
}

extension Installer.Outcome {
    /// Nothing to do before something changes.
    fileprivate var isSettled: Bool {
        switch self {
        case .installed, .withdrawn: true
        case .waiting, .conflict, .failed: false
        }
    }

    fileprivate var isConflict: Bool { if case .conflict = self { true } else { false } }
}
