import Addressing
import Glibc
import Linux
import Membership
import Sodium

/// The node's memory across restarts: its identity key, by which the hub knows it again, and the lease it got last.
///
/// Best on the host's disk: after a reboot without it the node is another one to the hub, and the name is the old one's
/// until its lease ends or `warren-hub release-node` frees it.
package struct LeaseFolder: ~Copyable, Sendable {
    private static let keyFile = "identity.key"
    private static let leaseFile = "lease.json"

    private let folder: PrivateFolder

    /// Makes the folder, mode 0700, and those above it, if need be.
    package init(path: String) throws(LeaseError) {
        let parents = path.split(separator: "/").dropLast()
        for count in parents.indices {
            _ = unsafe mkdir("/" + parents[...count].joined(separator: "/"), 0o755)
        }
        do { folder = try PrivateFolder(path: path) } catch {
            throw .state("lease folder: \(error); make it a folder of uid \(getuid()) with mode 0700")
        }
    }

    /// The stored identity, or a fresh one that is stored before it is used.
    borrowing func identity() throws(LeaseError) -> Identity {
        let path = "\(folder.path)/\(Self.keyFile)"
        do {
            if var seed = try folder.read(Self.keyFile, limit: 64) {
                defer { unsafe seed.withUnsafeMutableBytes { unsafe wipe($0) } }
                guard seed.count == 32 else {
                    throw LeaseError.state(
                        "identity key \(path): \(seed.count) bytes, expected 32; delete it to become a new node")
                }
                return Identity(try Ed25519.PrivateKey(seed: seed))
            }
            let key = try Ed25519.PrivateKey()
            var seed = key.exportSeed()
            defer { unsafe seed.withUnsafeMutableBytes { unsafe wipe($0) } }
            try folder.write(Self.keyFile, seed)
            return Identity(key)
        } catch let error as LeaseError { throw error } catch { throw .state("identity key \(path): \(error)") }
    }

    /// The lease of the last run; nil when there is none, or none that can be read.
    borrowing func lease() -> HeldBlock? {
        guard let bytes = try? folder.read(Self.leaseFile, limit: 4096) else { return nil }
        return JSONValue(parsing: bytes).flatMap { HeldBlock(json: $0) }
    }

    borrowing func store(_ lease: HeldBlock) throws(LeaseError) {
        do { try folder.write(Self.leaseFile, lease.json.text) } catch { throw .state("store the lease: \(error)") }
    }
}
