package import Addressing
import Glibc
import Linux

/// Frees what no DEL will ever free: attachments whose network namespace is gone, and addresses that nobody holds.
///
/// For a long-lived agent, every few seconds. It looks without the lock; only what seems gone is judged again under
/// it, so that an ADD waits for nothing. What is alive, or can't be told, is never touched.
package struct Reconciler: Sendable {
    /// What became of an attachment's namespace.
    package enum Liveness: Hashable, Sendable {
        case alive
        /// Its path is gone, or leads to another namespace.
        case gone
        /// It can't be told: never freed.
        case unknown
    }

    package struct Report: Hashable, Sendable {
        /// The attachments that were freed, for what else is kept of them.
        package var attachments: [AttachmentRecord] = []
        /// Addresses without an attachment that were freed.
        package var strays: [IPAddress] = []
        /// What could not be done, operation and subject.
        package var faults: [String] = []

        package var isEmpty: Bool { attachments.isEmpty && strays.isEmpty && faults.isEmpty }
    }

    /// An ADD in the middle of its work is younger than this. With the agent's interval, less than the 30 s in which what a
    /// killed plugin has left is to be gone.
    package static let grace: Int64 = 20

    package let dataDir: String
    private let liveness: @Sendable (AttachmentRecord.Netns) -> Liveness

    /// - Parameter root: where the runtimes' paths are to be looked up: empty for this process's own root,
    ///   `/proc/1/root` in a container that shares the host's process ids. Where a runtime's folder of namespaces
    ///   can't be seen there, nothing of it is freed.
    package init(dataDir: String, root: String = "") {
        self.init(dataDir: dataDir) { Self.liveness(of: $0, root: root) }
    }

    package init(dataDir: String, liveness: @escaping @Sendable (AttachmentRecord.Netns) -> Liveness) {
        self.dataDir = dataDir
        self.liveness = liveness
    }

    /// Looks at every network once.
    ///
    /// - Parameter now: seconds since 1970.
    package func run(now: Int64) -> Report {
        var report = Report()
        func attempt(_ body: () throws(CNIError) -> Void) {
            do throws(CNIError) { try body() } catch { report.faults.append(error.message) }
        }
        attempt { () throws(CNIError) in
            let folder = AttachmentFolder(dataDir: dataDir)
            let stores = try AttachmentFolder.names(in: "\(dataDir)/networks").filter { Invocation.isIdentifier($0) }
            for network in Set(try folder.networks() + stores).sorted() {
                attempt { () throws(CNIError) in try reconcile(network, now: now, &report) }
            }
        }
        attempt { () throws(CNIError) in try forgetFlows() }
        return report
    }

    private func reconcile(_ network: String, now: Int64, _ report: inout Report) throws(CNIError) {
        let location = StoreLocation(dataDir: dataDir, network: network)
        let folder = AttachmentFolder(dataDir: dataDir)
        let records = try folder.records(in: network)
        let suspects = Self.suspects(among: records, now: now, liveness: liveness)
        let known = Set(records.flatMap { $0.addresses.map(\.address) })
        let strays = try Self.reservations(in: location).subtracting(known)
        guard !suspects.isEmpty || !strays.isEmpty, let store = try Store(existing: location) else { return }
        for suspect in suspects {
            // Replaced in between: a new attachment with the old one's names.
            guard let record = try? store.record(of: suspect.holder), record == suspect else { continue }
            guard liveness(record.netns) == .gone else { continue }
            do throws(CNIError) {
                try record.releaseNodePort(dataDir: dataDir)
                try store.detach(record.holder)
                report.attachments.append(record)
            } catch {
                report.faults.append(error.message)
            }
        }
        for address in strays.sorted() {
            guard store.isStray(address, now: now) else { continue }
            do throws(CNIError) {
                try store.remove(address)
                report.strays.append(address)
            } catch {
                report.faults.append(error.message)
            }
        }
    }

    /// The decision: what is old enough and whose namespace is gone. A record from the future (the clock was set back)
    /// counts as old.
    package static func suspects(
        among records: [AttachmentRecord], now: Int64, liveness: (AttachmentRecord.Netns) -> Liveness
    ) -> [AttachmentRecord] {
        records.filter { record in
            let isYoung = record.created <= now && now - record.created < grace
            return !isYoung && liveness(record.netns) == .gone
        }
    }

    private static func reservations(in location: StoreLocation) throws(CNIError) -> Set<IPAddress> {
        Set(try AttachmentFolder.names(in: location.addresses).compactMap { IPAddress($0) })
    }

    /// What became of a namespace. It is gone only when its path's folder is there, so that a container without the
    /// host's mounts takes nothing for gone.
    static func liveness(of netns: AttachmentRecord.Netns, root: String) -> Liveness {
        var status = stat()
        if unsafe stat(root + netns.path, &status) == 0 {
            // What is no namespace at all is a mount point whose mount can't be seen from here, or is being undone.
            guard UInt64(status.st_dev) == netns.device else { return .unknown }
            return UInt64(status.st_ino) == netns.inode ? .alive : .gone
        }
        guard Errno.current == .noEntry else { return .unknown }
        let folders = netns.path.split(separator: "/").dropLast()
        // A process's folder goes with the process.
        let folder = folders.first == "proc" ? "/proc/self" : folders.map { "/\($0)" }.joined()
        return unsafe access(root + folder, F_OK) == 0 ? .gone : .unknown
    }
}

extension Store {
    /// The address's reservation belongs to nobody: its holder has no record, or one without the address, and it is
    /// too old to be an older plugin's work in progress. An unreadable record keeps what may be its own.
    fileprivate borrowing func isStray(_ address: IPAddress, now: Int64) -> Bool {
        var status = stat()
        guard unsafe stat("\(location.addresses)/\(address)", &status) == 0 else { return false }
        let age = now - Int64(status.st_mtim.tv_sec)
        guard age < 0 || age >= Reconciler.grace else { return false }
        guard let holder = holder(of: address) else { return true }
        guard let record = try? record(of: holder) else { return !hasRecord(of: holder) }
        return !record.addresses.contains { $0.address == address }
    }
}
