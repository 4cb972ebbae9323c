import CLinux
import CNI
import Glibc
import Linux
import Timing

/// The sockets in pods, by attachment. Used by one thread.
struct PodSockets {
    private struct Name: Hashable {
        let network: String
        let holder: Store.Holder
    }

    struct Changes {
        var opened: [(token: UInt64, pod: PodSocket)] = []
        var faults: [String] = []
    }

    private let folder: AttachmentFolder
    private let root: String
    private var pods: [Name: (token: UInt64, pod: PodSocket)] = [:]
    private var names: [UInt64: Name] = [:]
    // What could not be opened, so that it is said once.
    private var failed: [Name: String] = [:]
    private var nextToken: UInt64 = 16
    /// Records at the last scan.
    private(set) var attachments = 0

    init(_ configuration: NodeConfiguration) {
        folder = AttachmentFolder(dataDir: configuration.dataFolder)
        root = configuration.hostRoot
    }

    var count: Int { pods.count }
    /// Pods in which somebody else has our name.
    var occupied: Int { failed.values.count { $0.contains("EADDRINUSE") } }

    subscript(_ token: UInt64) -> PodSocket? { names[token].flatMap { pods[$0]?.pod } }

    /// Opens the attachment's socket; nil when it is open.
    mutating func open(_ record: AttachmentRecord, now: MonotonicTime) throws -> (token: UInt64, pod: PodSocket)? {
        let name = Name(network: record.network, holder: record.holder)
        if let open = pods[name] {
            if open.pod.record.netns == record.netns && open.pod.record.interface == record.interface { return nil }
            close(name)
        }
        let pod: PodSocket
        do { pod = try PodSocket(record, root: root, now: now) } catch {
            failed[name] = "\(error)"
            throw error
        }
        failed[name] = nil
        let token = nextToken
        nextToken += 1
        pods[name] = (token, pod)
        names[token] = name
        return (token, pod)
    }

    /// Opens what has a record and no socket, and closes what has no record or no namespace any more.
    mutating func scan(now: MonotonicTime) -> Changes {
        var changes = Changes()
        var present: Set<Name> = []
        do {
            for network in try folder.networks() {
                for holder in try folder.holders(in: network) { present.insert(Name(network: network, holder: holder)) }
            }
        } catch {
            // What can't be read takes nothing away.
            return Changes(faults: ["\(error)"])
        }
        attachments = present.count
        for (name, open) in pods where !present.contains(name) || !isAlive(open.pod.record) { close(name) }
        failed = failed.filter { present.contains($0.key) }
        for name in present where pods[name] == nil {
            guard let record = try? folder.record(of: name.holder, in: name.network), isAlive(record) else { continue }
            let before = failed[name]
            do {
                if let opened = try open(record, now: now) { changes.opened.append(opened) }
            } catch {
                if before != "\(error)" { changes.faults.append("listen for \(record.subject): \(error)") }
            }
        }
        return changes
    }

    private mutating func close(_ name: Name) {
        guard let open = pods.removeValue(forKey: name) else { return }
        names[open.token] = nil
    }

    /// The runtime still holds the namespace: its path leads to it.
    private func isAlive(_ record: AttachmentRecord) -> Bool {
        var status = stat()
        guard unsafe stat(root + record.netns.path, &status) == 0 else { return false }
        return UInt64(status.st_ino) == record.netns.inode && UInt64(status.st_dev) == record.netns.device
    }
}

extension AttachmentRecord {
    /// For the log: the pod where it is known, else the container.
    var subject: String {
        let names = [pod?.namespace, pod?.name].compactMap { $0 }
        return names.isEmpty ? "container \(holder.containerID)" : "pod \(names.joined(separator: "/"))"
    }
}
