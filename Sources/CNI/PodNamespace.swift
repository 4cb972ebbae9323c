import CLinux
import Glibc
import Linux

/// The pod's network namespace, opened and judged before anything is done in it.
///
/// A visit moves the calling thread, which must be the process's only one: nothing runs beside it that could find
/// itself in the wrong namespace.
package struct PodNamespace: ~Copyable {
    package let path: String
    package let identity: AttachmentRecord.Netns
    /// It is the plugin's own, which is the host's: acting on it would change the node.
    package let isOwn: Bool
    private let namespace: NetworkNamespace
    private let own: NetworkNamespace

    package init(path: String) throws(CNIError) {
        let namespace = try Self.open(path)
        let own = try Self.opening { () throws(SystemError) in try NetworkNamespace.current() }
        let theirs = try Self.identity(of: namespace)
        let ours = try Self.identity(of: own)
        isOwn = theirs.isSame(as: ours)
        identity = theirs
        self.path = path
        self.namespace = namespace
        self.own = own
    }

    private static func identity(
        of namespace: borrowing NetworkNamespace
    ) throws(CNIError) -> AttachmentRecord.Netns {
        do throws(SystemError) {
            let (device, inode) = try namespace.identity()
            return AttachmentRecord.Netns(path: namespace.path, inode: inode, device: device)
        } catch {
            throw .invalidNamespace(error.description)
        }
    }

    private static func open(_ path: String) throws(CNIError) -> NetworkNamespace {
        try opening { () throws(SystemError) in
            // A namespace is a regular file to stat(2); opening a pipe that somebody put there would block for ever.
            var status = stat()
            _ = try check("open network namespace \(path)") { unsafe stat(path, &status) }
            guard status.st_mode & S_IFMT == S_IFREG else {
                throw SystemError("open network namespace \(path)", .invalidArgument)
            }
            return try NetworkNamespace(path: path)
        }
    }

    private static func opening(
        _ body: () throws(SystemError) -> NetworkNamespace
    ) throws(CNIError) -> NetworkNamespace {
        do throws(SystemError) { return try body() } catch { throw .invalidNamespace(error.description) }
    }

    /// The uid here that is `uid` in the user namespace that owns this one, as in pods with `hostUsers: false`.
    package borrowing func hostUid(of uid: UInt32) throws(CNIError) -> UInt32 {
        let raw = namespace.raw
        let userNamespace = CLinux_ioctl_value(raw, CLinux_NS_GET_USERNS, 0)
        guard userNamespace >= 0 else {
            throw .invalidNamespace(SystemError("find user namespace of \(path)", .current).description)
        }
        let owner = FileDescriptor(owning: userNamespace)
        let map: UserNamespaceMap
        do throws(SystemError) {
            let ownerRaw = owner.raw
            var (theirs, ours) = (stat(), stat())
            _ = try check("stat user namespace of \(path)") { unsafe fstat(ownerRaw, &theirs) }
            _ = try check("stat /proc/self/ns/user") { unsafe stat("/proc/self/ns/user", &ours) }
            if theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev { return uid }
            map = try UserNamespaceMap(of: owner)
        } catch {
            throw .userNamespace("map uid \(uid) of the pod in \(path): \(error)")
        }
        guard let here = map.here(for: uid), here != .max else {
            throw .userNamespace("map uid \(uid) of the pod in \(path): the pod's user namespace maps no such uid")
        }
        return here
    }

    /// Runs `body` inside, and comes back.
    package borrowing func run<Value>(_ body: () throws(CNIError) -> Value) throws(CNIError) -> Value {
        try enter(namespace)
        let value: Value
        do throws(CNIError) { value = try body() } catch {
            try enter(own)
            throw error
        }
        try enter(own)
        return value
    }

    private borrowing func enter(_ namespace: borrowing NetworkNamespace) throws(CNIError) {
        let raw = namespace.raw
        let path = namespace.path
        do throws(SystemError) {
            _ = try check("enter network namespace \(path)") { CLinux_setns(raw, CLinux_CLONE_NEWNET) }
        } catch {
            throw .invalidNamespace(error.description)
        }
    }
}
