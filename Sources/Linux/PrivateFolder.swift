import CLinux
import Glibc

/// A folder of this user that nobody else may enter, for keys and what must outlive the process.
///
/// Files are written to a temporary name and renamed, so that a crash never leaves half of one. The folder is held open:
/// what is later put in its place under the same path is not looked at.
package struct PrivateFolder: ~Copyable, Sendable {
    package let path: String
    private let folder: FileDescriptor

    /// Opens the folder, making it if its parent allows.
    ///
    /// - Throws: EACCES for one that others may enter, or that is another user's.
    package init(path: String) throws(SystemError) {
        _ = unsafe mkdir(path, 0o700)
        let opened = try FileDescriptor(open: path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        var status = stat()
        guard unsafe fstat(opened.raw, &status) == 0, status.st_uid == getuid(), status.st_mode & 0o077 == 0 else {
            throw SystemError("use \(path), which is not of uid \(getuid()) with mode 0700", .accessDenied)
        }
        self.path = path
        folder = opened
    }

    /// The bytes of a regular file of ours, at most `limit`; nil when there is none. The caller wipes what is secret: no
    /// other copy is made.
    package borrowing func read(_ name: String, limit: Int) throws(SystemError) -> [UInt8]? {
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

    /// Exchanges the file whole, with mode 0600.
    package borrowing func write(_ name: String, _ bytes: [UInt8]) throws(SystemError) {
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
        // Makes the rename last.
        _ = try check("fsync \(path)") { fsync(raw) }
    }

    /// What is not there is no error.
    package borrowing func remove(_ name: String) { _ = unsafe unlinkat(folder.raw, name, 0) }

    private borrowing func open(_ name: String, _ flags: Int32) throws(SystemError) -> FileDescriptor {
        let raw = folder.raw
        return FileDescriptor(
            owning: try check("open \(path)/\(name)") {
                unsafe CLinux_openat(raw, name, flags | O_NOFOLLOW | O_CLOEXEC, 0o600)
            })
    }
}
