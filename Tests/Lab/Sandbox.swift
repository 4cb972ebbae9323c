import Foundation
import Glibc
import Synchronization

/// Everything a scenario makes on this machine: network namespaces, processes in them, one folder.
///
/// All names begin with the sandbox's name, and the folder's lock is held for the sandbox's life, so that what a killed
/// run left behind is recognised and removed by the next one. Mounts live in the mount namespaces of the sandbox's
/// processes and go with them. Needs root.
package final class Sandbox: Sendable {
    /// Root-only, on a file system that allows programs to run (Debian's /run does not).
    private static let root = "/var/lib/warren-lab"

    package let name: String
    package let folder: String
    private let lock: Int32
    private let state = Mutex(State())
    private let ending = Mutex(())

    private struct State {
        var isClosed = false
        var serial = 0
    }

    /// Takes the name, removing what an earlier run left under it. Throws `.busy` while another process holds it.
    package init(name: String) throws {
        guard geteuid() == 0 else { throw LabError.missing("not root: run it with sudo (it makes network namespaces)") }
        guard unsafe mkdir(Self.root, 0o755) == 0 || errno == EEXIST else {
            throw LabError.system("make folder \(Self.root)", errno: errno)
        }
        self.name = name
        folder = "\(Self.root)/\(name)"
        lock = try Self.takeLock(of: name)
        Self.erase(name)
        try makeFolder(folder)
    }

    /// A fresh name for this process: `warren-lab-PID-N`.
    package static func unique() throws -> Sandbox {
        let number = counter.withLock { number in
            number += 1
            return number
        }
        return try Sandbox(name: "warren-lab-\(getpid())-\(number)")
    }

    private static let counter = Mutex(0)

    /// A new path in the sandbox's folder.
    package func path(_ hint: String) -> String {
        let serial = state.withLock { state in
            state.serial += 1
            return state.serial
        }
        return "\(folder)/\(serial)-\(hint)"
    }

    /// A new network namespace `NAME-ROLE` with its loopback up. Throws `.busy` once torn down.
    package func namespace(_ role: String) throws -> Namespace {
        let namespace = Namespace(sandbox: self, name: "\(name)-\(role)")
        try run("ip", "netns", "add", namespace.name)
        try run("ip", "-n", namespace.name, "link", "set", "lo", "up")
        return namespace
    }

    /// Kills every process in the sandbox's namespaces and removes namespaces and folder. Idempotent; any thread, and
    /// when it returns all is gone, whichever thread did it.
    package func tearDown() {
        ending.withLock { _ in
            guard closeDoor() else { return }
            // What another thread has just started may still be making something.
            let deadline = Clock.now + 10
            repeat {
                Self.erase(name)
                usleep(20_000)
            } while !Self.remains(of: name).isEmpty && Clock.now < deadline
            close(lock)
            removeFile(Self.lockPath(name))
            unsafe rmdir(Self.root)
        }
    }

    /// Leaves everything in place for a person to look at; `purge` removes it later.
    package func keep() {
        ending.withLock { _ in
            if closeDoor() { close(lock) }
        }
    }

    /// Nothing is started from now on; false when that was so already.
    private func closeDoor() -> Bool {
        state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
    }

    /// Runs `start`, which starts a process, unless the sandbox is taken down: then throws `.busy`.
    func start<Value>(_ start: () throws -> sending Value) throws -> Value {
        try state.withLock { state in
            if state.isClosed { throw LabError.busy("\(name) was taken down") }
            return try start()
        }
    }

    deinit { tearDown() }
}

// MARK: - Leftovers

extension Sandbox {
    /// Removes what runs that no longer live have left. Returns the names that were removed.
    package static func purge() -> [String] {
        var removed: [String] = []
        for entry in names(in: root) where entry.hasSuffix(".lock") {
            let name = String(entry.dropLast(5))
            guard let lock = try? takeLock(of: name) else { continue }
            erase(name)
            close(lock)
            removeFile(lockPath(name))
            removed.append(name)
        }
        unsafe rmdir(root)
        return removed
    }

    /// What the machine still has under `name`: namespaces, processes in them, the folder. Empty means clean.
    package static func remains(of name: String) -> [String] {
        let namespaces = namespaceNames(name)
        return namespaces.map { "namespace \($0)" }
            + processes(in: namespaces).map { "process \($0)" }
            + (fileExists("\(root)/\(name)") ? ["folder \(root)/\(name)"] : [])
    }

    private static func lockPath(_ name: String) -> String { "\(root)/\(name).lock" }

    private static func takeLock(of name: String) throws(LabError) -> Int32 {
        let path = lockPath(name)
        let lock = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lock >= 0 else { throw .system("open \(path)", errno: errno) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            close(lock)
            throw .busy("\(name) is in use by another process (it holds \(path))")
        }
        return lock
    }

    private static func namespaceNames(_ name: String) -> [String] {
        names(in: "/run/netns").filter { $0.hasPrefix(name + "-") }
    }

    private static func erase(_ name: String) {
        let namespaces = namespaceNames(name)
        let deadline = Clock.now + 5
        while Clock.now < deadline {
            let living = processes(in: namespaces)
            if living.isEmpty { break }
            for pid in living { kill(pid, SIGKILL) }
            usleep(5_000)
        }
        for namespace in namespaces {
            unsafe umount2("/run/netns/\(namespace)", Int32(MNT_DETACH))
            removeFile("/run/netns/\(namespace)")
        }
        try? FileManager.default.removeItem(atPath: "\(root)/\(name)")
    }

    /// The processes that run in one of the namespaces; a zombie has none any more.
    private static func processes(in namespaces: [String]) -> [Int32] {
        let inodes = Set(namespaces.compactMap { inode("/run/netns/\($0)") })
        if inodes.isEmpty { return [] }
        return names(in: "/proc").compactMap { Int32($0) }.filter { pid in
            inode("/proc/\(pid)/ns/net").map(inodes.contains) ?? false
        }
    }

    private static func inode(_ path: String) -> UInt64? {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        return UInt64(status.st_ino)
    }
}
