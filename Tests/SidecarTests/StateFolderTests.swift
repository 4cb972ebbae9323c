import CLinux
import Glibc
import Linux
import Membership
import Sodium
import Testing

@testable import Sidecar

@Suite struct StateFolderTests {
    private let scratch: Scratch

    init() throws {
        try Libsodium.initialize()
        scratch = try Scratch()
    }

    @Test func `a restart finds the same identity and credential`() throws {
        let id = try StateFolder(path: scratch["state"]).identity().id
        let folder = try StateFolder(path: scratch["state"])
        #expect(try folder.identity().id == id)
        #expect(folder.credential() == nil)
        try folder.store(credential: "text")
        #expect(try StateFolder(path: scratch["state"]).credential() == "text")
        folder.removeCredential()
        #expect(folder.credential() == nil)
        #expect(try scratch.mode("state") == 0o700)
        #expect(try scratch.mode("state/identity.key") == 0o600)
    }

    @Test(arguments: [0o701, 0o750, 0o770, 0o707, 0o755, 0o777] as [UInt32])
    func `a folder that others can enter, read or write is refused`(mode: UInt32) throws {
        _ = unsafe mkdir(scratch["state"], 0o700)
        _ = unsafe chmod(scratch["state"], mode)
        #expect(refusal("state")?.contains("mode 0700") == true)
    }

    @Test func `a link to a folder, a file and a missing parent are refused`() throws {
        _ = unsafe mkdir(scratch["real"], 0o700)
        _ = unsafe symlink(scratch["real"], scratch["link"])
        #expect(refusal("link") != nil)
        try scratch.write("file", [1])
        #expect(refusal("file") != nil)
        #expect(refusal("missing/state") != nil)
    }

    @Test func `another user's folder is refused`() throws {
        guard geteuid() == 0 else { return }
        _ = unsafe mkdir(scratch["state"], 0o700)
        _ = unsafe chown(scratch["state"], 4711, 4711)
        #expect(refusal("state")?.contains("uid 0") == true)
    }

    @Test func `a key that is a link, a pipe or of another size is refused, and never waited for`() throws {
        for make: (String) throws -> Void in [
            { _ = unsafe symlink(self.scratch["elsewhere"], $0) }, { _ = unsafe mkfifo($0, 0o600) },
            { _ = unsafe mkdir($0, 0o700) }, { _ in try self.scratch.write("state/identity.key", [1, 2, 3]) },
            { _ in try self.scratch.write("state/identity.key", [UInt8](repeating: 1, count: 100)) },
        ] {
            _ = unsafe mkdir(scratch["state"], 0o700)
            try scratch.write("elsewhere", [UInt8](repeating: 1, count: 32))
            try make(scratch["state/identity.key"])
            #expect(throws: SidecarError.self) { try StateFolder(path: scratch["state"]).identity() }
            scratch.clear()
        }
    }

    @Test func `a folder that takes its place later is not looked at`() throws {
        let folder = try StateFolder(path: scratch["state"])
        let id = try folder.identity().id
        _ = unsafe rename(scratch["state"], scratch["moved"])
        _ = unsafe mkdir(scratch["state"], 0o777)
        try scratch.write("state/identity.key", [UInt8](repeating: 1, count: 32))
        #expect(try folder.identity().id == id)
        try folder.store(credential: "text")
        #expect(unsafe access(scratch["state/credential.jwt"], F_OK) != 0)
        #expect(unsafe access(scratch["moved/credential.jwt"], F_OK) == 0)
    }

    @Test func `a leftover or hostile temporary file is in nobody's way`() throws {
        _ = unsafe mkdir(scratch["state"], 0o700)
        try scratch.write("target", [7])
        _ = unsafe symlink(scratch["target"], scratch["state/.identity.key.new"])
        _ = try StateFolder(path: scratch["state"]).identity()
        #expect(try scratch.read("target") == [7])
        #expect(try scratch.read("state/identity.key").count == 32)
    }

    private func refusal(_ name: String) -> String? {
        do {
            _ = try StateFolder(path: scratch[name]).credential()
            return nil
        } catch { return error.description }
    }
}

/// A folder of its own that is removed with everything in it.
private final class Scratch: Sendable {
    private let path: String

    init() throws {
        path = "/tmp/warren-state-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        _ = try check("mkdir \(path)") { unsafe mkdir(path, 0o700) }
    }

    deinit {
        clear()
        _ = unsafe rmdir(path)
    }

    subscript(name: String) -> String { "\(path)/\(name)" }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try FileDescriptor(open: self[name], O_WRONLY | O_CREAT | O_TRUNC).writeAll(bytes)
    }

    func read(_ name: String) throws -> [UInt8] {
        try FileDescriptor(open: self[name], O_RDONLY).readToEnd(limit: 4096)
    }

    func mode(_ name: String) throws -> UInt32 {
        var status = stat()
        _ = try check("stat \(name)") { unsafe lstat(self[name], &status) }
        return status.st_mode & 0o7777
    }

    func clear() {
        for folder in ["state", "moved", "real"] {
            for file in ["identity.key", "credential.jwt", ".identity.key.new"] {
                _ = unsafe unlink(self["\(folder)/\(file)"])
                _ = unsafe rmdir(self["\(folder)/\(file)"])
            }
            _ = unsafe rmdir(self[folder])
        }
        for file in ["link", "file", "target", "elsewhere"] { _ = unsafe unlink(self[file]) }
    }
}
