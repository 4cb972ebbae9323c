import CLinux
import Glibc

/// A process at the other end of a socket, whose /proc folder is held open: what is read is about this process and no
/// later one of the same number (pidfd_open(2)).
package struct PeerProcess: ~Copyable, Sendable {
    package let pid: Int32
    private let handle: FileDescriptor
    private let folder: FileDescriptor

    package init(pid: Int32) throws(SystemError) {
        try self.init(
            pid: pid, handle: FileDescriptor(owning: try check("pidfd_open \(pid)") { CLinux_pidfd_open(pid) }))
    }

    /// - Parameter handle: a pidfd of the process that had the number when it was made.
    package init(pid: Int32, handle: consuming FileDescriptor) throws(SystemError) {
        let folder = try FileDescriptor(open: "/proc/\(pid)", O_RDONLY | O_DIRECTORY)
        // Still running after the folder was opened, so it is this process's folder.
        guard Self.isRunning(handle) else { throw SystemError("open process \(pid)", Errno(ESRCH)) }
        self.pid = pid
        self.handle = handle
        self.folder = folder
    }

    /// It has not ended.
    package var isRunning: Bool { Self.isRunning(handle) }

    private static func isRunning(_ handle: borrowing FileDescriptor) -> Bool {
        var state = pollfd(fd: handle.raw, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&state, 1, 0) == 0
    }

    /// A file of its folder; ESRCH when it has ended.
    package borrowing func read(_ name: String, limit: Int = 65536) throws(SystemError) -> String {
        String(decoding: try open(name).readToEnd(limit: limit), as: UTF8.self)
    }

    /// The network namespace it is in.
    package borrowing func networkNamespace() throws(SystemError) -> NetworkNamespace {
        NetworkNamespace(owning: try open("ns/net"), path: "/proc/\(pid)/ns/net")
    }

    private borrowing func open(_ name: String) throws(SystemError) -> FileDescriptor {
        let raw = folder.raw
        return FileDescriptor(
            owning: try check("open /proc/\(pid)/\(name)") { unsafe CLinux_openat(raw, name, O_RDONLY | O_CLOEXEC, 0) })
    }
}
