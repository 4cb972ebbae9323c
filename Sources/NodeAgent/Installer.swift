import Glibc
import Linux
import Synchronization
package import Timing

/// Puts the plugin on the node and our entry into the primary plugin's configuration, and looks again whenever it is asked to.
///
/// Every step leaves the node working, whenever the process is killed: the binary is there and has been tried before any
/// configuration names it, a configuration is exchanged whole, and the entry goes before the binary does. Several
/// processes exclude each other by a lock in the state folder. Safe for concurrent use.
package final class Installer: Sendable {
    /// How things stand after a look.
    package enum Outcome: Hashable, Sendable {
        /// No configuration to chain to; why.
        case waiting(String)
        /// The entry is in `file`, whose network is `network`; `inserted` says that it was put there just now.
        case installed(file: String, network: String, inserted: Bool)
        /// Somebody keeps taking the entry out; who, as far as can be told.
        case conflict(String)
        case failed(String)
        /// By request, there is no entry.
        case withdrawn
    }

    /// The moments between which a kill is interesting.
    package enum Step: String, CaseIterable, Sendable {
        case copied, tried, exchanged, prepared, written, backedUp
    }

    /// How long a configuration that can't be read may be one that is just being written.
    static let patience = Interval.seconds(5)

    let configuration: NodeConfiguration
    let binary: PluginBinary
    let folder: ConfFolder
    private let step: @Sendable (Step) -> Void
    private let state: Mutex<State>

    private struct State {
        var match: PluginBinary.Match?
        var budget = InsertBudget()
        var unreadable: [String: MonotonicTime] = [:]
        var isWithdrawn = false
        var entry: String
    }

    /// - Parameter step: told of each step when it is done, for tests.
    package init(_ configuration: NodeConfiguration, step: @escaping @Sendable (Step) -> Void = { _ in }) {
        self.configuration = configuration
        self.step = step
        state = Mutex(State(entry: configuration.entry))
        binary = PluginBinary(source: configuration.plugin, folder: configuration.binFolder)
        folder = ConfFolder(path: configuration.confFolder)
    }

    /// What our entry is to be: a JSON object in one line. Takes effect with the next look.
    package var entry: String {
        get { state.withLock { $0.entry } }
        set { state.withLock { $0.entry = newValue } }
    }

    /// Does what is missing.
    package func ensure(now: MonotonicTime) -> Outcome {
        state.withLock { state in
            if state.isWithdrawn { return .withdrawn }
            do {
                return try locked {
                    try ensureBinary(&state)
                    return try ensureEntry(&state, now)
                }
            } catch { return .failed("\(error)") }
        }
    }

    /// Takes the entry out of every configuration, and leaves it out from now on. A file that was wrapped becomes what it was.
    ///
    /// - Returns: the files that were changed.
    package func withdraw() throws(InstallerError) -> [String] {
        state.withLock { $0.isWithdrawn = true }
        return try locked {
            var changed: [String] = []
            for file in try folder.files() where !file.isSingle {
                guard let list = try? file.list.get(), let rest = list.withoutEntry() else { continue }
                try write(rest, over: file.path, mode: 0o644)
                try unwrap(file, rest)
                changed.append(file.name)
            }
            return changed
        }
    }

    /// Removes the plugin. Only when no attachment is left that needs it.
    package func removeBinary() throws(InstallerError) {
        try locked { try binary.remove() }
    }

    private func ensureBinary(_ state: inout State) throws {
        state.match = try binary.match(known: state.match)
        guard state.match == nil else { return }
        try binary.copy()
        step(.copied)
        try binary.tryCopy()
        step(.tried)
        try binary.exchange()
        step(.exchanged)
        state.match = try binary.match(known: nil)
    }

    private func ensureEntry(_ state: inout State, _ now: MonotonicTime) throws -> Outcome {
        var files = try folder.files()
        if let name = configuration.confName {
            files.removeAll { $0.name != name && $0.listPath != "\(folder.path)/\(name)" }
        }
        for file in files {
            guard let list = try? file.list.get() else {
                let since = state.unreadable[file.name] ?? now
                state.unreadable[file.name] = since
                if now.since(since) < Self.patience { return .waiting("\(file.path) \(fault(of: file)): waiting") }
                continue
            }
            state.unreadable[file.name] = nil
            guard list.hasPrimary else { continue }
            return try keep(file, list, files, &state, now)
        }
        let unreadable = files.first { (try? $0.list.get()) == nil }.map { ": \($0.path) \(fault(of: $0))" } ?? ""
        return .waiting("no configuration of a primary plugin in \(folder.path)\(unreadable)")
    }

    /// Keeps the entry in `file`, and nowhere else.
    private func keep(
        _ file: ConfFolder.File, _ list: Conflist, _ files: [ConfFolder.File], _ state: inout State,
        _ now: MonotonicTime
    ) throws -> Outcome {
        let wanted = list.keeping(state.entry)
        let strays = files.filter { other in
            let isTarget = other.name == file.name || other.path == file.listPath
            return !isTarget && !other.isSingle && (try? other.list.get())?.withoutEntry() != nil
        }
        let installed = Outcome.installed(
            file: file.listPath, network: list.name, inserted: wanted != nil || file.isSingle || !strays.isEmpty)
        guard installed != .installed(file: file.listPath, network: list.name, inserted: false) else {
            return installed
        }
        if let until = state.budget.take(now: now) {
            let cause = Rivalry.cause(types: list.types, names: (try? folder.allNames()) ?? [])
            return .conflict(
                "our entry keeps vanishing from \(file.path); trying again in \(Int(until.since(now).seconds.rounded(.up))) s: "
                    + cause)
        }
        if file.isSingle {
            try wrap(file, wanted ?? list.bytes)
        } else if let wanted {
            try replace(file, with: wanted)
        }
        for stray in strays {
            if let rest = try stray.list.get().withoutEntry() { try replace(stray, with: rest) }
        }
        return installed
    }

    /// Exchanges a file that is still what was read.
    private func replace(_ file: ConfFolder.File, with bytes: [UInt8]) throws {
        guard FileStamp(file.path) == file.stamp else {
            throw InstallerError.inTheWay("change \(file.path): somebody else is changing it, trying again")
        }
        try write(bytes, over: file.path, mode: 0o644)
    }

    /// Makes a list of a single plugin's configuration. Until the last step the runtime takes the old file, which is first by
    /// name, or the new one: both are whole.
    private func wrap(_ file: ConfFolder.File, _ bytes: [UInt8]) throws {
        // What stands there with our entry is an earlier wrapping of ours; anything else is not ours to replace.
        if FileStamp(file.listPath) != nil {
            let other = folder.read(String(file.listPath.split(separator: "/").last ?? ""))
            guard (try? other.list.get())?.hasEntry == true else {
                throw InstallerError.inTheWay(
                    "wrap \(file.path): \(file.listPath) exists and is not ours; remove one of them")
            }
        }
        try write(bytes, over: file.listPath, like: file.path, mode: 0o644)
        let (old, backup) = (file.path, file.backupPath)
        _ = try check("rename \(old) to \(backup)") { unsafe rename(old, backup) }
        try AtomicFile.sync(folder: folder.path)
        step(.backedUp)
    }

    /// Gives a wrapped file its old name and form back, if it is still the same one plugin. It is first by name as soon as it is
    /// there, so there is always one to take.
    private func unwrap(_ file: ConfFolder.File, _ bytes: [UInt8]) throws(SystemError) {
        guard let only = (try? Conflist(parsing: bytes))?.onlyPlugin else { return }
        for suffix in ConfFolder.singleSuffixes {
            let single = "\(file.path.dropLast(ConfFolder.listSuffix.count))\(suffix)"
            let backup = single + ConfFolder.backupSuffix
            guard
                let saved = try? FileDescriptor(open: backup, O_RDONLY | O_NOFOLLOW).readToEnd(
                    limit: ConfFolder.sizeLimit),
                let text = JSONText(saved), text.slice(text.root) == only, FileStamp(single) == nil
            else { continue }
            _ = try check("rename \(backup) to \(single)") { unsafe rename(backup, single) }
            let path = file.path
            _ = try check("remove \(path)") { unsafe unlink(path) }
            return
        }
    }

    private func write(_ bytes: [UInt8], over path: String, like model: String? = nil, mode: UInt32) throws(SystemError)
    {
        let file = AtomicFile(path: path)
        try file.prepare(mode: mode, like: model ?? path) { (descriptor) throws(SystemError) in
            try descriptor.writeAll(bytes)
        }
        step(.prepared)
        try file.commit()
        step(.written)
    }

    private func fault(of file: ConfFolder.File) -> String {
        if case .failure(let fault) = file.list { fault.description } else { "" }
    }

    /// Runs `body` while no other installer works on this node.
    private func locked<Value>(_ body: () throws -> Value) throws(InstallerError) -> Value {
        do {
            try configuration.makeStateFolder()
            let path = "\(configuration.stateFolder)/installer.lock"
            let descriptor = try FileDescriptor(open: path, O_RDWR | O_CREAT | O_NOFOLLOW)
            let raw = descriptor.raw
            _ = try check("lock \(path)") { flock(raw, LOCK_EX) }
            defer { _ = flock(descriptor.raw, LOCK_UN) }
            return try body()
        } catch let error as InstallerError { throw error } catch let error as SystemError {
            throw .system(error)
        } catch { throw .inTheWay("\(error)") }
    }
}
