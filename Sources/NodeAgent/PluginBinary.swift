import Glibc
import Linux

/// The plugin's executable in the runtime's folder, and where it is copied from.
///
/// A running plugin can't be overwritten (ETXTBSY), and half a plugin must never be run: a copy is made beside it, tried,
/// and renamed over it. Who runs the old one keeps it until it ends.
struct PluginBinary: Sendable {
    static let name = "warren-cni"

    let source: String
    let folder: String

    var path: String { "\(folder)/\(Self.name)" }
    private var file: AtomicFile { AtomicFile(path: path) }

    /// The state that both files were in when they were equal.
    struct Match: Hashable, Sendable {
        let source: FileStamp
        let target: FileStamp
    }

    /// What shows that the installed plugin is the source's, byte for byte; nil when it isn't. `known` saves the reading.
    func match(known: Match?) throws(SystemError) -> Match? {
        guard let original = FileStamp(source) else { throw SystemError("find plugin \(source)", .noEntry) }
        guard let target = FileStamp(path), target.mode & 0o7777 == 0o755, target.size == original.size else {
            return nil
        }
        let match = Match(source: original, target: target)
        if match == known { return match }
        let left = try FileDescriptor(open: source, O_RDONLY)
        let right = try FileDescriptor(open: path, O_RDONLY)
        while true {
            let chunk = try left.read(upTo: 1 << 20)
            guard try chunk == right.read(upTo: 1 << 20) else { return nil }
            if chunk.isEmpty { return match }
        }
    }

    /// Copies the source beside its place.
    func copy() throws(SystemError) {
        let original = try FileDescriptor(open: source, O_RDONLY)
        try file.prepare(mode: 0o755) { (copy) throws(SystemError) in
            while true {
                let chunk = try original.read(upTo: 1 << 20)
                if chunk.isEmpty { return }
                try copy.writeAll(chunk)
            }
        }
    }

    /// Has the copy say its versions; removes it when it does not.
    func tryCopy() throws(InstallerError) {
        do { try PluginCall.version(of: file.temporary) } catch {
            _ = unsafe unlink(file.temporary)
            throw error
        }
    }

    /// Puts the copy in its place.
    func exchange() throws(SystemError) { try file.commit() }

    /// Removes plugin and leftovers; none is no error.
    func remove() throws(SystemError) {
        for path in [file.temporary, path] where unsafe unlink(path) != 0 && Errno.current != .noEntry {
            throw SystemError("remove \(path)", .current)
        }
    }
}
