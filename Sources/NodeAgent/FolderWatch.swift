import Glibc
import Linux

/// An inotify(7) instance that becomes readable when something in the watched folders changes.
struct FolderWatch: ~Copyable, Sendable {
    private let descriptor: FileDescriptor
    private static let changes =
        UInt32(IN_CLOSE_WRITE) | UInt32(IN_MOVED_TO) | UInt32(IN_MOVED_FROM) | UInt32(IN_CREATE) | UInt32(IN_DELETE)
        | UInt32(IN_ATTRIB) | UInt32(IN_DELETE_SELF) | UInt32(IN_MOVE_SELF) | UInt32(IN_ONLYDIR)

    init() throws(SystemError) {
        descriptor = FileDescriptor(
            owning: try check("inotify_init1") { inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK)) })
    }

    var raw: Int32 { descriptor.raw }

    /// Watches the folder that is at `path` now. Watching it again changes nothing, and one that is not there is left to polling.
    borrowing func watch(_ path: String) { _ = unsafe inotify_add_watch(descriptor.raw, path, Self.changes) }

    /// Forgets what has happened so far.
    borrowing func drain() { while let bytes = try? descriptor.read(upTo: 4096), !bytes.isEmpty {} }
}
