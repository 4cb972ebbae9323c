import Glibc
import Linux
import TestSupport

/// A process that only holds namespaces of its own: a network namespace whose path goes when it ends, and with a map a
/// user namespace that owns it, as a user-namespaced pod has them.
final class NamespaceHolder: Sendable {
    private let process: ChildProcess

    var netns: String { "/proc/\(process.pid)/ns/net" }
    var pid: pid_t { process.pid }

    /// - Parameter map: the user namespace's uid_map; nil for a network namespace only.
    init(map: String? = nil) throws {
        let kinds = map == nil ? ["--net"] : ["--user", "--net"]
        process = try ChildProcess("/usr/bin/unshare", kinds + ["/bin/sleep", "60"])
        let own = try NetworkNamespace.current().identity()
        for _ in 0..<3000 {
            usleep(1000)
            guard let theirs = try? NetworkNamespace(path: netns).identity(), theirs != own else { continue }
            if let map {
                let file = try FileDescriptor(open: "/proc/\(process.pid)/uid_map", O_WRONLY)
                try file.writeAll(Array(map.utf8))
            }
            return
        }
        process.stop()
        throw ChildProcess.Failure(description: "unshare made no namespaces")
    }

    deinit { process.stop() }
}
