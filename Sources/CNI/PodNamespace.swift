import CLinux
import Glibc
import Linux

/// The pod's network namespace, opened and judged before anything is done in it.
package struct PodNamespace: ~Copyable {
    package let path: String
    /// It is the plugin's own, which is the host's: acting on it would change the node.
    package let isOwn: Bool
    private let namespace: NetworkNamespace

    package init(path: String) throws(CNIError) {
        let namespace = try Self.open(path)
        do throws(SystemError) {
            isOwn = try NetworkNamespace.current().identity() == namespace.identity()
        } catch {
            throw .invalidNamespace(error.description)
        }
        self.path = path
        self.namespace = namespace
    }

    private static func open(_ path: String) throws(CNIError) -> NetworkNamespace {
        do throws(SystemError) {
            // A namespace is a regular file to stat(2); opening a pipe that somebody put there would block for ever.
            var status = stat()
            _ = try check("open network namespace \(path)") { unsafe stat(path, &status) }
            guard status.st_mode & S_IFMT == S_IFREG else {
                throw SystemError("open network namespace \(path)", .invalidArgument)
            }
            return try NetworkNamespace(path: path)
        } catch {
            throw .invalidNamespace(error.description)
        }
    }

    /// Joins the user namespace that the network namespace belongs to, if it is not the caller's: uids then mean what
    /// they mean in the pod, and the kernel maps the TUN's owner. There is no way back, so this is for a process that
    /// only finishes this call; its files stay its own, for the uid behind root does not change.
    ///
    /// The process must have one thread (setns(2)).
    package borrowing func joinUserNamespace() throws(CNIError) {
        let raw = namespace.raw
        let userNamespace = CLinux_ioctl_value(raw, CLinux_NS_GET_USERNS, 0)
        guard userNamespace >= 0 else {
            throw .invalidNamespace(SystemError("find user namespace of \(path)", .current).description)
        }
        let owner = FileDescriptor(owning: userNamespace)
        do throws(SystemError) {
            let own = try FileDescriptor(open: "/proc/self/ns/user", O_RDONLY)
            let (ownerRaw, ownRaw) = (owner.raw, own.raw)
            var (theirs, ours) = (stat(), stat())
            _ = try check("stat user namespace") { unsafe fstat(ownerRaw, &theirs) }
            _ = try check("stat user namespace") { unsafe fstat(ownRaw, &ours) }
            if theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev { return }
            _ = try check("join user namespace of \(path)") { CLinux_setns(ownerRaw, CLinux_CLONE_NEWUSER) }
        } catch {
            throw .userNamespace(error.description)
        }
    }

    /// Runs `body` inside, on a thread of its own.
    package borrowing func run<Value: Sendable>(
        _ body: @escaping @Sendable () throws(CNIError) -> Value
    ) throws(CNIError) -> Value {
        do { return try namespace.run { try body() } } catch let error as CNIError { throw error } catch {
            throw .invalidNamespace("\(error)")
        }
    }
}
