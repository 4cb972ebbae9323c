import Glibc
import Linux
import Membership
import Sodium

/// The agent's memory across restarts: a 0700 folder, on tmpfs in a pod, with the identity key and the last credential.
///
/// A restarted sidecar that finds its folder is the same agent. Files are written to a temporary name and renamed, so a
/// crash never leaves half a key. Throws `SidecarError.state` with what to do.
struct StateFolder {
    private let path: String

    /// Opens the folder, making it if its parent allows. Refuses one that others can read or that another user owns.
    init(path: String) throws(SidecarError) {
        self.path = path
        _ = unsafe mkdir(path, 0o700)
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else {
            throw .state("state folder \(path): \(Errno.current); make it, owned by uid \(getuid()) with mode 0700")
        }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == getuid(), status.st_mode & 0o077 == 0 else {
            throw .state(
                "state folder \(path): must be a folder of uid \(getuid()) with mode 0700; chown and chmod it, or pass another --state-dir"
            )
        }
    }

    /// The identity key: the stored one, or a fresh one that is stored before it is used.
    func identity() throws(SidecarError) -> Identity {
        do {
            if var seed = try read("identity.key", limit: 32) {
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
    func removeCredential() { _ = unsafe unlink("\(path)/credential.jwt") }

    private func read(_ name: String, limit: Int) throws(SystemError) -> [UInt8]? {
        do {
            return try FileDescriptor(open: "\(path)/\(name)", O_RDONLY | O_NOFOLLOW).readToEnd(limit: limit)
        } catch {
            if error.errno == .noEntry { return nil }
            throw error
        }
    }

    private func write(_ name: String, _ bytes: [UInt8]) throws(SystemError) {
        let temporary = "\(path)/.\(name).new"
        _ = unsafe unlink(temporary)
        do {
            let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
            try file.writeAll(bytes)
            let raw = file.raw
            _ = try check("fsync \(temporary)") { fsync(raw) }
        }
        _ = try check("rename \(temporary)") { unsafe rename(temporary, "\(path)/\(name)") }
    }
}
