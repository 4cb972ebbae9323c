import CLinux
import CNI
import Glibc
import Handover
import Linux
import Netlink
import Synchronization
import Timing
import Tun

/// The agent's socket in one pod's network namespace, at which the sidecar gets its TUN descriptor.
///
/// The socket keeps the namespace in existence, so it must be let go of when the runtime has let go of the pod: the path it
/// gave then leads nowhere. Used by one thread.
final class PodSocket: Sendable {
    let record: AttachmentRecord
    private let namespace: NetworkNamespace
    private let listener: Box
    private let bucket: Mutex<TokenBucket>

    /// A sidecar asks once at its start, and some times more when its predecessor still holds the interface.
    private static let rate = TokenBucket.Limit(perSecond: 5, burst: 20)

    /// Listens in the attachment's namespace. When this returns, no process of the pod can take the name any more.
    ///
    /// - Parameter root: where the runtime's path is looked up.
    init(_ record: AttachmentRecord, root: String, now: MonotonicTime) throws {
        let namespace = try Self.open(record.netns, root)
        let name = HandoverAnswer.socketName(for: record.interface)
        listener = try namespace.run { Box(try PacketSocket.listen(at: name)) }
        self.record = record
        self.namespace = namespace
        bucket = Mutex(TokenBucket(full: Self.rate, now: now))
    }

    var raw: Int32 { listener.socket.raw }

    /// Answers the next question; nil when there is none. The text is for the log.
    func answer(now: MonotonicTime) -> (outcome: HandoverOutcome, detail: String)? {
        do {
            guard let connection = try listener.socket.accept() else { return nil }
            guard bucket.withLock({ $0.take(1, limit: Self.rate, now: now) }) else {
                try? connection.send(HandoverAnswer(.notNow, "too many questions").bytes)
                return (.rate, "too many questions")
            }
            let asker = Box(connection)
            do {
                try judge(asker)
                try hand(to: asker)
                return (.granted, "")
            } catch let refusal as Refusal {
                let status: HandoverAnswer.Status = refusal.outcome == .held ? .notNow : .refused
                try? asker.socket.send(HandoverAnswer(status, refusal.reason).bytes)
                return (refusal.outcome, refusal.reason)
            }
        } catch { return (.failed, "\(error)") }
    }

    private struct Refusal: Error {
        let outcome: HandoverOutcome
        let reason: String
    }

    /// The asker must be the pod's sidecar: the uid that owns the interface, which no other container may have, in this network
    /// namespace and in this pod's control group.
    private func judge(_ asker: Box) throws {
        let peer = try asker.socket.peer()
        guard peer.uid == record.ownerUid else {
            throw Refusal(outcome: .uid, reason: "uid \(peer.uid) is not the owner of \(record.interface)")
        }
        do {
            let process = try asker.socket.peerProcess()
            guard try process.networkNamespace().identity() == namespace.identity() else {
                throw Refusal(outcome: .namespace, reason: "process \(peer.pid) is in another network namespace")
            }
            if let uid = record.pod?.uid, !uid.isEmpty, try !PodCgroup.places(process.read("cgroup"), inPod: uid) {
                throw Refusal(outcome: .cgroup, reason: "process \(peer.pid) is not in the control group of pod \(uid)")
            }
            guard process.isRunning else { throw SystemError("look at process \(peer.pid)", Errno(ESRCH)) }
        } catch let error as SystemError { throw Refusal(outcome: .process, reason: "\(error)") }
    }

    /// Attaches to the interface and sends the descriptor. Ours is closed with that.
    private func hand(to asker: Box) throws {
        let (interface, owner) = (record.interface, record.ownerUid)
        try namespace.run {
            var socket = try RouteSocket()
            let before = try Self.interface(interface, owner, &socket)
            let tun: TunDevice
            do throws(TunError) { tun = try TunDevice.attach(interface) } catch {
                if case .held = error { throw Refusal(outcome: .held, reason: "\(error)") }
                throw Refusal(outcome: .interface, reason: "\(error)")
            }
            // While we are attached it can't be exchanged for another any more.
            guard tun.name == interface, try Self.interface(interface, owner, &socket) == before else {
                throw Refusal(outcome: .interface, reason: "\(interface) was exchanged for another")
            }
            try asker.socket.send(HandoverAnswer(.granted).bytes, passing: tun.raw)
        }
    }

    /// The index of the interface that the plugin made.
    private static func interface(_ name: String, _ owner: UInt32, _ socket: inout RouteSocket) throws -> Int32 {
        guard let link = try socket.link(named: name) else {
            throw Refusal(outcome: .interface, reason: "no interface \(name) in the pod")
        }
        guard let tun = link.tun, tun.isLayer3, tun.isPersistent, !tun.isMultiQueue, tun.owner == owner else {
            throw Refusal(outcome: .interface, reason: "\(name) is not the plugin's TUN of uid \(owner)")
        }
        return link.index
    }

    /// The namespace, if it still is the one that the plugin saw, and not the agent's own.
    private static func open(_ netns: AttachmentRecord.Netns, _ root: String) throws -> NetworkNamespace {
        let path = root + netns.path
        var status = stat()
        _ = try check("find network namespace \(path)") { unsafe stat(path, &status) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw SystemError("open network namespace \(path)", .invalidArgument)
        }
        let namespace = try NetworkNamespace(path: path)
        let identity = try namespace.identity()
        guard identity == (netns.device, netns.inode) else {
            throw SystemError("open network namespace \(path): it is another one than the plugin's", Errno(ESTALE))
        }
        guard CLinux_ioctl_value(namespace.raw, CLinux_NS_GET_NSTYPE, 0) == CLinux_CLONE_NEWNET else {
            throw SystemError("open network namespace \(path)", .invalidArgument)
        }
        guard try identity != NetworkNamespace.current().identity() else {
            throw SystemError("open network namespace \(path): it is the agent's own", .invalidArgument)
        }
        return namespace
    }
}

/// A socket that closures can share.
private final class Box: Sendable {
    let socket: PacketSocket

    init(_ socket: consuming PacketSocket) { self.socket = socket }
}
