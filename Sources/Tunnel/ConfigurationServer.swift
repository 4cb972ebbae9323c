import Glibc
package import Linux
import Sodium

/// Serves the configuration protocol on `/var/run/wireguard/IFNAME.sock`, as `wg(8)` expects it: requests end with an empty
/// line, a connection may carry several, and one that breaks the protocol is closed.
///
/// One plain thread, one connection at a time, a time limit of 5 s on each read: `wg` asks and leaves. Only root may
/// connect: the socket's mode is 0600 in a folder of mode 0700.
package struct ConfigurationServer: ~Copyable {
    package static let folder = "/var/run/wireguard"
    static let requestLimit = 16 << 20

    package let path: String
    private let listener: FileDescriptor

    /// Binds the socket of `interface`. EADDRINUSE when another process serves it.
    package init(interface: String) throws(SystemError) {
        _ = unsafe mkdir("/var/run", 0o755)
        _ = unsafe mkdir(Self.folder, 0o700)
        path = "\(Self.folder)/\(interface).sock"
        listener = try UnixSocket.listen(path: path, mode: 0o600)
    }

    /// Takes over a socket that is listening already: the parent of a daemon bound it.
    package init(adopting descriptor: Int32, interface: String) {
        path = "\(Self.folder)/\(interface).sock"
        listener = FileDescriptor(owning: descriptor)
    }

    package var raw: Int32 { listener.raw }

    /// Answers requests until the socket is closed, shut down or removed from its folder; blocks. `handle` gets a request
    /// and returns the answer.
    package borrowing func run(_ handle: (String) -> String) {
        let removal = watchForRemoval()
        guard let epoll = try? Epoll(), (try? listener.setNonBlocking()) != nil,
            (try? epoll.add(listener.raw, .read, token: 0)) != nil
        else { return }
        switch removal {
        case .some(let removal): try? epoll.add(removal.raw, .read, token: 1)
        case .none: break
        }
        while unsafe access(path, F_OK) == 0, (try? epoll.wait(timeout: nil)) != nil {
            do {
                let connection = try UnixSocket.accept(listener)
                UnixSocket.setTimeout(connection, seconds: 5)
                serve(connection, handle)
            } catch {
                switch error.errno {
                case .interrupted, Errno(ECONNABORTED): continue
                case .again:
                    // What happened to the file was no removal: it must not wake this loop for ever.
                    switch removal {
                    case .some(let removal): _ = try? removal.read(upTo: 4096)
                    case .none: break
                    }
                // Out of descriptors or memory for now: the interface must not end for it.
                case Errno(EMFILE), Errno(ENFILE), Errno(ENOMEM), .noBuffers: usleep(100_000)
                default: return
                }
            }
        }
    }

    /// Readable once something happens to the socket's file (inotify(7)): unlinking it is a change of its link count, and
    /// its inode stays while it is bound. Nil where the kernel has no more of these: then `stop` alone ends `run`.
    private borrowing func watchForRemoval() -> FileDescriptor? {
        let raw = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
        guard raw >= 0 else { return nil }
        let descriptor = FileDescriptor(owning: raw)
        guard unsafe inotify_add_watch(raw, path, UInt32(IN_ATTRIB | IN_DELETE_SELF)) >= 0 else { return nil }
        return descriptor
    }

    /// Ends `run` from another thread and removes the socket file.
    package static func stop(descriptor: Int32, path: String) {
        _ = unsafe unlink(path)
        _ = shutdown(descriptor, Int32(SHUT_RDWR))
    }

    private borrowing func serve(_ connection: borrowing FileDescriptor, _ handle: (String) -> String) {
        var pending: [UInt8] = []
        defer { unsafe pending.withUnsafeMutableBytes { unsafe wipe($0) } }
        // How much of it was looked at in vain.
        var searched = 0
        while pending.count <= Self.requestLimit {
            guard let chunk = try? connection.read(upTo: 65536), !chunk.isEmpty else { break }
            pending += chunk
            while let end = Self.endOfRequest(pending, from: searched) {
                let request = String(decoding: pending[..<end], as: UTF8.self)
                unsafe pending.withUnsafeMutableBytes {
                    unsafe wipe(UnsafeMutableRawBufferPointer(rebasing: $0[..<end]))
                }
                pending.removeFirst(end)
                searched = 0
                guard (try? connection.writeAll(Array(handle(request).utf8))) != nil else { return }
            }
            searched = pending.count
        }
    }

    /// The index after the first empty line that ends at `start` or behind it, or nil.
    static func endOfRequest(_ bytes: [UInt8], from start: Int = 0) -> Int? {
        guard bytes.count >= 2 else { return nil }
        return (max(start, 1)..<bytes.count).first { bytes[$0] == 0x0A && bytes[$0 - 1] == 0x0A }.map { $0 + 1 }
    }
}
