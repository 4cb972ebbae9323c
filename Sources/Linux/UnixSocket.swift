import CLinux
import Glibc

/// Stream sockets of the Unix domain (unix(7)), by path.
package enum UnixSocket {
    /// A socket listening at `path`, with `mode` as its permissions. A leftover socket that nobody serves is replaced; one
    /// that answers is EADDRINUSE.
    package static func listen(path: String, mode: UInt32, backlog: Int32 = 16) throws(SystemError) -> FileDescriptor {
        let socket = try stream()
        let raw = socket.raw
        if let _ = try? connect(path: path) { throw SystemError("bind \(path)", Errno(EADDRINUSE)) }
        _ = unsafe unlink(path)
        // The mode is in force before anybody can connect: no window between bind and chmod.
        let previous = umask(mode_t(0o777 & ~mode))
        defer { umask(previous) }
        _ = try check("bind \(path)") { unsafe withAddress(path) { unsafe Glibc.bind(raw, $0, $1) } }
        _ = try check("listen \(path)") { Glibc.listen(raw, backlog) }
        return socket
    }

    /// - Parameter isBlocking: false fails with EAGAIN where the server's queue is full, instead of waiting.
    package static func connect(path: String, isBlocking: Bool = true) throws(SystemError) -> FileDescriptor {
        let socket = try stream()
        if !isBlocking { try socket.setNonBlocking() }
        let raw = socket.raw
        _ = try check("connect \(path)") { unsafe withAddress(path) { unsafe Glibc.connect(raw, $0, $1) } }
        return socket
    }

    /// The next connection, close-on-exec.
    package static func accept(_ listener: borrowing FileDescriptor) throws(SystemError) -> FileDescriptor {
        let raw = listener.raw
        return FileDescriptor(owning: try check("accept") { CLinux_accept4(raw, Int32(SOCK_CLOEXEC.rawValue)) })
    }

    /// Limits how long a read or write on `socket` blocks.
    package static func setTimeout(_ socket: borrowing FileDescriptor, seconds: Int) {
        var time = timeval(tv_sec: seconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        unsafe setsockopt(socket.raw, SOL_SOCKET, SO_RCVTIMEO, &time, size)
        unsafe setsockopt(socket.raw, SOL_SOCKET, SO_SNDTIMEO, &time, size)
    }

    private static func stream() throws(SystemError) -> FileDescriptor {
        FileDescriptor(
            owning: try check("socket AF_UNIX") {
                socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            })
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let fits = unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard bytes.count < field.count else { return false }
            unsafe field.copyBytes(from: bytes)
            return true
        }
        guard fits else {
            errno = ENAMETOOLONG
            return -1
        }
        return unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
