import CLinux
import Glibc
import Linux
import Membership
import Sodium

/// The agent's memory across restarts: a 0700 folder, on tmpfs in a pod, with the identity key and the last credential.
///
/// A restarted sidecar that finds its folder is the same agent. Files are written to a temporary name and renamed, so a
/// crash never leaves half a key. The folder is held open: what is later put in its place under the same path is not looked
/// at. Throws `SidecarError.state` with what to do.
struct StateFolder: ~Copyable {
    private let path: String
    private let folder: FileDescriptor

    /// Opens the folder, making it if its parent allows. Refuses one that others can read or that another user owns.
    init(path: String) throws(SidecarError) {
        _ = unsafe mkdir(path, 0o700)
        let advice = "folder of uid \(getuid()) with mode 0700"
        let opened: FileDescriptor
        do { opened = try FileDescriptor(open: path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) } catch {
            throw .state("state folder \(path): \(error.errno); make it a \(advice)")
        }
        var status = stat()
        guard unsafe fstat(opened.raw, &status) == 0, status.st_uid == getuid(), status.st_mode & 0o077 == 0 else {
            throw .state("state folder \(path): must be a \(advice); chown and chmod it, or pass another --state-dir")
        }
        self.path = path
        folder = opened
    }

    /// The identity key: the stored one, or a fresh one that is stored before it is used.
    func identity() throws(SidecarError) -> Identity {
        do {
            if var seed = try read("identity.key", limit: 64) {
                defer { unsafe seed.withUnsafeMutableBytes { unsafe wipe($0) } }
                guard seed.count == 32 else {
                    throw SidecarError.state(
                        "identity key \(path)/identity.key: \(seed.count) bytes, expected 32; delete it to become a new agent"
                    )
                }
                return Identity(try Ed25519.PrivateKey(seed: seed))
            }
            let key = try Ed25519.PrivateKey()
            var seed = key.exportSeed()
            defer { unsafe seed.withUnsafeMutableBytes { unsafe wipe($0) } }
            try write("identity.key", seed)
            return Identity(key)
        } catch let error as SidecarError {
            throw error
        } catch { throw .state("identity key in \(path): \(error)") }
    }

    /// The text of the last credential, or nil. It is verified again by whoever uses it.
    func credential() -> String? {
        (try? read("credential.jwt", limit: 4096)).flatMap { $0.map { String(decoding: $0, as: UTF8.self) } }
    }

    func store(credential: String) throws(SidecarError) {
        do { try write("credential.jwt", Array(credential.utf8)) } catch {
            throw .state("store the credential in \(path): \(error)")
        }
    }

    /// Forgets the credential: the agent has left the mesh.
    func removeCredential() { _ = unsafe unlinkat(folder.raw, "credential.jwt", 0) }

    /// The bytes of a regular file of ours, at most `limit`; nil when there is none. The caller wipes what is secret: no
    /// other copy is made.
    private func read(_ name: String, limit: Int) throws(SystemError) -> [UInt8]? {
        let file: FileDescriptor
        // Not blocking: opening a FIFO would wait for its writer.
        do { file = try open(name, O_RDONLY | O_NONBLOCK) } catch {
            if error.errno == .noEntry { return nil }
            throw error
        }
        var status = stat()
        let raw = file.raw
        guard unsafe fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == getuid() else {
            throw SystemError("read \(path)/\(name): not a file of uid \(getuid())", .accessDenied)
        }
        guard (0...limit).contains(Int(status.st_size)) else { throw SystemError("read \(path)/\(name)", Errno(EFBIG)) }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        let length = try check("read \(path)/\(name)") {
            unsafe bytes.withUnsafeMutableBytes { unsafe Int32(clamping: Glibc.read(raw, $0.baseAddress, $0.count)) }
        }
        bytes.removeLast(bytes.count - Int(length))
        return bytes
    }

    private func write(_ name: String, _ bytes: [UInt8]) throws(SystemError) {
        let temporary = ".\(name).new"
        let raw = folder.raw
        _ = unsafe unlinkat(raw, temporary, 0)
        do {
            let file = try open(temporary, O_WRONLY | O_CREAT | O_EXCL)
            try file.writeAll(bytes)
            let raw = file.raw
            _ = try check("fsync \(path)/\(temporary)") { fsync(raw) }
        }
        _ = try check("rename \(path)/\(temporary)") { unsafe renameat(raw, temporary, raw, name) }
    }

    private func open(_ name: String, _ flags: Int32) throws(SystemError) -> FileDescriptor {
        let raw = folder.raw
        return FileDescriptor(
            owning: try check("open \(path)/\(name)") {
                unsafe CLinux_openat(raw, name, flags | O_NOFOLLOW | O_CLOEXEC, 0o600)
            })
    }
}
