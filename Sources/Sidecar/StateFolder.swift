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
    private let folder: PrivateFolder

    /// Opens the folder, making it if its parent allows. Refuses one that others can read or that another user owns.
    init(path: String) throws(SidecarError) {
        do { folder = try PrivateFolder(path: path) } catch {
            throw .state(
                "state folder: \(error); make it a folder of uid \(getuid()) with mode 0700, or pass another --state-dir"
            )
        }
        self.path = path
    }

    /// The identity key: the stored one, or a fresh one that is stored before it is used.
    func identity() throws(SidecarError) -> Identity {
        do {
            if var seed = try folder.read("identity.key", limit: 64) {
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
            try folder.write("identity.key", seed)
            return Identity(key)
        } catch let error as SidecarError {
            throw error
        } catch { throw .state("identity key in \(path): \(error)") }
    }

    /// The text of the last credential, or nil. It is verified again by whoever uses it.
    func credential() -> String? {
        (try? folder.read("credential.jwt", limit: 4096)).flatMap { $0.map { String(decoding: $0, as: UTF8.self) } }
    }

    func store(credential: String) throws(SidecarError) {
        do { try folder.write("credential.jwt", Array(credential.utf8)) } catch {
            throw .state("store the credential in \(path): \(error)")
        }
    }

    /// Forgets the credential: the agent has left the mesh.
    func removeCredential() { folder.remove("credential.jwt") }
}
