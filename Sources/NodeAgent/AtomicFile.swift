import CLinux
import Glibc
import Linux

/// A file that is exchanged whole: written beside its place under a name that no runtime reads, synced, and renamed.
struct AtomicFile {
    let path: String

    /// Where it is written before it is renamed: in the same folder, and not ending in .conf, .conflist or .json.
    var temporary: String { "\(folder)/.\(name).warren" }
    var folder: String { parts.dropLast().map { "/\($0)" }.joined() }
    var name: String { parts.last.map(String.init) ?? "" }
    private var parts: [Substring] { path.split(separator: "/") }

    /// Writes the temporary file. What a killed writer left of it is replaced.
    ///
    /// - Parameter model: a file whose mode and owner it takes; else `mode`, and the caller's.
    func prepare(
        mode: UInt32, like model: String? = nil, _ write: (borrowing FileDescriptor) throws(SystemError) -> Void
    )
        throws(SystemError)
    {
        let temporary = temporary
        _ = unsafe unlink(temporary)
        let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
        do throws(SystemError) {
            try write(file)
            let raw = file.raw
            var status = stat()
            if let model, unsafe stat(model, &status) == 0 {
                _ = try check("chown \(temporary)") { fchown(raw, status.st_uid, status.st_gid) }
            }
            let bits = status.st_mode == 0 ? mode : status.st_mode & 0o7777
            _ = try check("chmod \(temporary)") { fchmod(raw, bits) }
            _ = try check("sync \(temporary)") { fsync(raw) }
        } catch {
            _ = unsafe unlink(temporary)
            throw error
        }
    }

    /// Puts what was prepared in its place.
    func commit() throws(SystemError) {
        let (source, target) = (temporary, path)
        do { _ = try check("rename \(source) to \(target)") { unsafe rename(source, target) } } catch {
            _ = unsafe unlink(source)
            throw error
        }
        try Self.sync(folder: folder)
    }

    /// Makes renames in a folder last.
    static func sync(folder: String) throws(SystemError) {
        let descriptor = try FileDescriptor(open: folder, O_RDONLY | O_DIRECTORY)
        let raw = descriptor.raw
        _ = try check("sync \(folder)") { fsync(raw) }
    }
}

/// What tells one state of a file from another without reading it.
struct FileStamp: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64
    let size: Int64
    let mode: UInt32
    let modified: Int64
    let changed: Int64

    /// Nil when there is no such file.
    init?(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        mode = status.st_mode
        modified = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        changed = Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec)
    }
}
