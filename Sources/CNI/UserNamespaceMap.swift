import CLinux
import Glibc
package import Linux

/// Which uids of this process's user namespace stand for those of another (user_namespaces(7), "uid_map").
///
///     FIRST-INSIDE  FIRST-HERE  COUNT
package struct UserNamespaceMap: Hashable, Sendable {
    package struct Range: Hashable, Sendable {
        package let inside: UInt32
        package let here: UInt32
        package let count: UInt32
    }

    package let ranges: [Range]

    /// Of a map as it is read from here; nil for text of another form.
    package init?(parsing text: String) {
        var ranges: [Range] = []
        for line in text.split(separator: "\n") {
            let numbers = line.split(separator: " ").map { UInt32($0) }
            guard numbers.count == 3, let inside = numbers[0], let here = numbers[1], let count = numbers[2] else {
                return nil
            }
            ranges.append(Range(inside: inside, here: here, count: count))
        }
        self.ranges = ranges
    }

    /// The uid here that is `uid` inside; nil when nobody is.
    package func here(for uid: UInt32) -> UInt32? {
        for range in ranges where uid >= range.inside && uid - range.inside < range.count {
            let (here, isOver) = range.here.addingReportingOverflow(uid - range.inside)
            return isOver ? nil : here
        }
        return nil
    }

    /// The map of the namespace that `descriptor` holds open. A map can be read only of a process in the namespace,
    /// and there may be none yet: a child enters it, and is read from here.
    ///
    /// The process must have one thread (fork(2)).
    package init(of descriptor: borrowing FileDescriptor) throws(SystemError) {
        var (up, down): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        _ = try check("pipe") { unsafe CLinux_pipe2(&up, O_CLOEXEC) }
        let entered = FileDescriptor(owning: up[0])
        let entering = FileDescriptor(owning: up[1])
        _ = try check("pipe") { unsafe CLinux_pipe2(&down, O_CLOEXEC) }
        let leaving = FileDescriptor(owning: down[0])
        let leave = FileDescriptor(owning: down[1])
        let pid = try check("fork") { CLinux_fork() }
        if pid == 0 { _exit(Self.visit(descriptor, entering, leaving, leave.raw)) }
        let text: String
        do throws(SystemError) {
            text = try Self.read(pid, entered, entering)
        } catch {
            Self.end(pid)
            throw error
        }
        Self.end(pid)
        guard let map = UserNamespaceMap(parsing: text) else {
            throw SystemError("read uid_map of user namespace", .invalidArgument)
        }
        self = map
    }

    /// The child: it says that it has entered, and ends when the parent does, for then nobody holds the other end of
    /// what it waits at.
    private static func visit(
        _ namespace: borrowing FileDescriptor, _ entering: borrowing FileDescriptor,
        _ leaving: borrowing FileDescriptor, _ leave: Int32
    ) -> Int32 {
        close(leave)
        var answer = CLinux_setns(namespace.raw, CLinux_CLONE_NEWUSER) == 0 ? 0 : UInt8(clamping: errno)
        _ = unsafe Glibc.write(entering.raw, &answer, 1)
        var nothing: UInt8 = 0
        _ = unsafe Glibc.read(leaving.raw, &nothing, 1)
        return 0
    }

    private static func read(
        _ pid: Int32, _ entered: borrowing FileDescriptor, _ entering: consuming FileDescriptor
    ) throws(SystemError) -> String {
        _ = consume entering
        let answer = try entered.read(upTo: 1)
        guard answer == [0] else {
            throw SystemError("join user namespace", Errno(answer.first.map { Int32($0) } ?? EIO))
        }
        let file = try FileDescriptor(open: "/proc/\(pid)/uid_map", O_RDONLY)
        return String(decoding: try file.readToEnd(limit: 65536), as: UTF8.self)
    }

    private static func end(_ pid: Int32) {
        kill(pid, SIGKILL)
        var status: Int32 = 0
        _ = try? check("wait") { unsafe waitpid(pid, &status, 0) }
    }
}
