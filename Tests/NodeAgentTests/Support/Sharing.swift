import CLinux
import Glibc
import Handover
import Linux
import Synchronization
import Tun

/// A thread that closures can share.
final class Joinable: Sendable {
    private let thread: Mutex<Linux.Thread?>

    init(_ body: @escaping @Sendable () -> Void) throws {
        let thread = try Linux.Thread(named: "test", body)
        self.thread = Mutex(thread)
    }

    func join() {
        guard let running = thread.withLock({ $0.take() }) else { return }
        running.join()
    }
}

/// A control group of this test's own, in the pids hierarchy of version 1 or in version 2; removed with its parents at the end.
final class ScratchCgroup {
    let path: String
    private let folders: [String]

    init(_ name: String) throws {
        let root = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].first { unsafe access("\($0)/cgroup.procs", F_OK) == 0 }
        guard let root else { throw SystemError("find a control group hierarchy", .noEntry) }
        var folders: [String] = []
        for part in name.split(separator: "/") { folders.append("\(folders.last ?? root)/\(part)") }
        self.folders = folders
        path = folders.last ?? root
        for folder in folders where unsafe mkdir(folder, 0o755) != 0 && Errno.current != .exists {
            throw SystemError("make \(folder)", .current)
        }
    }

    deinit {
        for folder in folders.reversed() {
            // Its last process may just be ending.
            for _ in 0..<100 where unsafe rmdir(folder) != 0 && Errno.current == .busy { usleep(10_000) }
        }
    }
}

/// A listener that answers as it likes.
final class SocketBox: Sendable {
    private let raw: Int32

    init(_ raw: Int32) { self.raw = raw }

    /// Accepts one connection and grants it `passed`, which is closed then.
    func answer(with passed: Int32?) throws {
        var poll = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
        guard unsafe Glibc.poll(&poll, 1, 10_000) > 0 else { throw Program.Failure(description: "nobody asked") }
        let connection = CLinux_accept4(raw, Int32(SOCK_CLOEXEC.rawValue))
        defer { _ = Glibc.close(connection) }
        defer { if let passed { _ = Glibc.close(passed) } }
        try PacketSocket(adopting: connection).send(HandoverAnswer(.granted).bytes, passing: passed)
    }

    func close() { _ = Glibc.close(raw) }
}

extension PacketSocket {
    /// A copy of the descriptor, which the caller closes.
    borrowing func share() throws -> Int32 { try duplicate(raw) }

    /// For a copy of a descriptor.
    init(adopting raw: Int32) throws { try self.init(owning: FileDescriptor(owning: duplicate(raw))) }
}

extension TunDevice {
    borrowing func share() throws -> Int32 { try duplicate(raw) }
}

/// A copy that no program which another test starts inherits.
private func duplicate(_ raw: Int32) throws(SystemError) -> Int32 {
    try check("dup") { CLinux_fcntl(raw, F_DUPFD_CLOEXEC, 3) }
}
