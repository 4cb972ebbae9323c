import CLinux
import Glibc
package import Linux

/// A network namespace that exists as long as this object: nothing to clean up, whatever happens to the test.
package final class ScratchNamespace: Sendable {
    package let namespace: NetworkNamespace

    package init() throws {
        guard geteuid() == 0 else { throw NotRoot() }
        let descriptor = try Linux.Thread.run(named: "scratch-netns") {
            _ = try check("unshare network namespace") { CLinux_unshare(CLinux_CLONE_NEWNET) }
            return try FileDescriptor(open: "/proc/thread-self/ns/net", O_RDONLY).release()
        }
        let owned = FileDescriptor(owning: descriptor)
        namespace = try NetworkNamespace(path: "/proc/self/fd/\(owned.raw)")
    }

    /// A path by which another process reaches the namespace while this one lives.
    package var path: String { "/proc/\(getpid())/fd/\(namespace.raw)" }

    package func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        try namespace.run(body)
    }
}

package struct NotRoot: Error, CustomStringConvertible {
    package var description: String { "this test makes network namespaces and needs root: run it with sudo" }
}
