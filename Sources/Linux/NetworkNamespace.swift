import CLinux
import Glibc

/// A network namespace, held open by a descriptor (network_namespaces(7)).
package struct NetworkNamespace: ~Copyable, Sendable {
    private let descriptor: FileDescriptor
    package let path: String

    /// Opens `/proc/PID/ns/net`, `/run/netns/NAME` or any other nsfs path.
    package init(path: String) throws(SystemError) {
        descriptor = try FileDescriptor(open: path, O_RDONLY)
        self.path = path
    }

    /// - Parameter path: for error messages.
    package init(owning descriptor: consuming FileDescriptor, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    /// The calling thread's namespace.
    package static func current() throws(SystemError) -> NetworkNamespace {
        try NetworkNamespace(path: "/proc/thread-self/ns/net")
    }

    package var raw: Int32 { descriptor.raw }

    /// Device and inode: equal exactly for the same namespace.
    package borrowing func identity() throws(SystemError) -> (device: UInt64, inode: UInt64) {
        var status = stat()
        let raw = descriptor.raw
        _ = try check("stat \(path)") { unsafe fstat(raw, &status) }
        return (UInt64(status.st_dev), UInt64(status.st_ino))
    }

    /// Runs `body` inside this namespace, on a short-lived thread of its own: setns(2) is per thread, so the caller's
    /// namespace never changes and no pooled thread is left in a foreign one. Needs CAP_SYS_ADMIN.
    ///
    /// Blocks the calling thread until `body` returns. Sockets made inside stay in this namespace for their life.
    package borrowing func run<Result: Sendable>(
        _ body: @escaping @Sendable () throws -> Result
    ) throws -> Result {
        let raw = descriptor.raw
        let name = path
        return try Thread.run(named: "warren-netns") {
            _ = try check("enter network namespace \(name)") { CLinux_setns(raw, CLinux_CLONE_NEWNET) }
            return try body()
        }
    }
}
