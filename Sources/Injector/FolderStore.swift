import Glibc
import JSON
import Linux

/// Certificates in a folder of one process: `ring.json`, which only its owner may read, and `ca.crt` for whoever verifies
/// the webhook.
package struct FolderStore: CertificateStore {
    private static let sizeLimit = 1 << 20

    private let path: String

    package init(_ path: String) { self.path = path }

    package func load() throws(InjectorError) -> StoredCertificates? {
        let bytes: [UInt8]
        do { bytes = try FileDescriptor(open: "\(path)/ring.json", O_RDONLY).readToEnd(limit: Self.sizeLimit) } catch {
            if error.errno == .noEntry { return nil }
            throw .store("certificates in \(path): \(error)")
        }
        guard let members = (try? JSONValue(parsing: bytes))?.members else {
            throw .store("\(path)/ring.json: not valid; remove it to start with new certificates")
        }
        let files = members.map { ($0.name, $0.value.text ?? "") }
        return StoredCertificates(files: Dictionary(files) { first, _ in first }, version: "")
    }

    package func save(_ files: [String: String], over version: String?) throws(InjectorError) -> Bool {
        if unsafe mkdir(path, 0o755) != 0, Errno.current != .exists {
            throw .store("make the folder \(path): \(Errno.current)")
        }
        // One file, so that no crash leaves a key without its certificate.
        let members = files.sorted { $0.key < $1.key }.map { JSONValue.Member($0.key, .string($0.value)) }
        try replace("ring.json", JSONValue.object(members).serialized, mode: 0o600)
        return true
    }

    package func publish(_ bundle: String) throws(InjectorError) {
        try replace("ca.crt", Array(bundle.utf8), mode: 0o644)
    }

    package func changes(_ onChange: @escaping @Sendable () -> Void) {}

    private func replace(_ name: String, _ bytes: [UInt8], mode: UInt32) throws(InjectorError) {
        let temporary = "\(path)/.\(name).new"
        do throws(SystemError) {
            _ = unsafe unlink(temporary)
            let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
            try file.writeAll(bytes)
            let raw = file.raw
            _ = try check("fsync \(temporary)") { fsync(raw) }
            _ = try check("rename \(temporary)") { unsafe rename(temporary, "\(path)/\(name)") }
        } catch { throw .store("write \(path)/\(name): \(error)") }
    }
}

/// A certificate that somebody else makes and renews: `tls.crt` and `tls.key` in a folder, as in a mounted Secret.
package struct GivenCertificate: Sendable {
    private let path: String

    package init(_ path: String) { self.path = path }

    package func load() throws(InjectorError) -> KeyedCertificate {
        try KeyedCertificate(certificate: read("tls.crt"), key: read("tls.key"))
    }

    private func read(_ name: String) throws(InjectorError) -> String {
        do {
            let bytes = try FileDescriptor(open: "\(path)/\(name)", O_RDONLY).readToEnd(limit: 65536)
            return String(decoding: bytes, as: UTF8.self)
        } catch { throw .store("read \(path)/\(name): \(error)") }
    }
}
