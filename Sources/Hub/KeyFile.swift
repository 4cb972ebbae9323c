import Glibc
import Linux

/// Files that only the hub may read: keys and the configuration beside them.
enum KeyFile {
    /// Whose word it is who may read a file.
    enum Source: Sendable {
        /// Our own file: only its owner may read it, and it is no link.
        case own
        /// A volume that the kubelet mounts: its files are links into a folder that it exchanges as a whole, root's, and
        /// readable for the pod's group.
        case mounted

        var forbidden: UInt32 { self == .own ? 0o077 : 0o027 }
    }

    /// The bytes of a regular file that only its owner may read; in a mounted volume, also its group.
    ///
    /// - Throws: `.missingFile`, `.exposedFile` when others have any right to it, `.system`.
    static func read(_ path: String, from source: Source = .own, limit: Int = 65536) throws(HubError) -> [UInt8] {
        do {
            let file = try FileDescriptor(open: path, O_RDONLY | (source == .own ? O_NOFOLLOW : 0))
            var status = stat()
            guard unsafe fstat(file.raw, &status) == 0 else { throw SystemError("fstat \(path)", .current) }
            guard status.st_mode & S_IFMT == S_IFREG else { throw HubError.malformedFile(path) }
            guard status.st_mode & source.forbidden == 0 else {
                throw HubError.exposedFile(path, mode: status.st_mode & 0o7777)
            }
            return try file.readToEnd(limit: limit)
        } catch let error as HubError { throw error } catch let error as SystemError {
            throw error.errno == .noEntry ? .missingFile(path) : HubError(error)
        } catch { throw .malformedFile(path) }
    }

    /// Makes the file with mode 0600, whole or not at all, and leaves an existing one as it is.
    ///
    /// - Returns: whether it was made.
    @discardableResult
    static func create(_ path: String, _ bytes: [UInt8]) throws(HubError) -> Bool {
        let temporary = "\(path).new"
        do throws(SystemError) {
            _ = unsafe unlink(temporary)
            let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            try file.writeAll(bytes)
            let raw = file.raw
            _ = try check("fsync \(path)") { fsync(raw) }
            // link(2) refuses to replace, so that no key is ever overwritten.
            let isNew = unsafe link(temporary, path) == 0
            let errno = Errno.current
            _ = unsafe unlink(temporary)
            if !isNew, errno != .exists { throw SystemError("link \(path)", errno) }
            return isNew
        } catch { throw HubError(error) }
    }

    /// Replaces the file, or makes it, with mode 0600: readers see the old bytes or the new ones.
    static func replace(_ path: String, _ bytes: [UInt8]) throws(HubError) {
        let temporary = "\(path).new"
        do throws(SystemError) {
            _ = unsafe unlink(temporary)
            let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            try file.writeAll(bytes)
            let raw = file.raw
            _ = try check("fsync \(path)") { fsync(raw) }
            _ = try check("rename \(path)") { unsafe rename(temporary, path) }
        } catch { throw HubError(error) }
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }
}
