import CLinux
import CMnl
import Glibc
import Linux

extension RouteSocket {
    /// Deletes a link, and returns once it is gone from its namespace.
    ///
    /// After that the kernel waits for grace periods, until the link's memory is free, before it answers: longer than all
    /// else that a plugin does, and for nobody's good. A child process has the answer to wait for; nobody waits for it.
    /// Only for a process with one thread, that ends soon.
    package mutating func deleteByChild(_ link: Link) throws(NetlinkError) {
        var ends: [Int32] = [-1, -1]
        guard unsafe CLinux_pipe2(&ends, O_CLOEXEC) == 0 else { return try delete(link) }
        let child = CLinux_fork()
        if child == 0 {
            setsid()
            _ = alarm(60)
            // Whoever reads the caller's output, or waits for its locks, waits for the caller alone.
            for descriptor in 0..<Int32(1024) where descriptor != raw && descriptor != ends[1] { _ = close(descriptor) }
            var code: Int32 = 0
            do { try delete(link) } catch { code = error.errno?.code ?? EIO }
            _ = unsafe write(ends[1], &code, MemoryLayout<Int32>.size)
            _exit(0)
        }
        _ = close(ends[1])
        let answer = FileDescriptor(owning: ends[0])
        guard child > 0 else { return try delete(link) }
        while unsafe if_nametoindex(link.name) == link.index {
            guard CLinux_wait_readable(answer.raw, 100) > 0 else { continue }
            var code: Int32 = 0
            // A child that was killed has not answered.
            guard unsafe read(answer.raw, &code, MemoryLayout<Int32>.size) > 0 else { return try delete(link) }
            guard code != 0 else { return }
            throw .refused(operation: "delete link \(link.name)", errno: Errno(code), text: nil)
        }
    }
}
