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

    /// Answers requests until the socket is closed or shut down; blocks. `handle` gets a request and returns the answer.
    package borrowing func run(_ handle: (String) -> String) {
        while true {
            do {
                let connection = try UnixSocket.accept(listener)
                UnixSocket.setTimeout(connection, seconds: 5)
                serve(connection, handle)
            } catch {
                switch error.errno {
                case .interrupted, Errno(ECONNABORTED): continue
                // Out of descriptors or memory for now: the interface must not end for it.
                case Errno(EMFILE), Errno(ENFILE), Errno(ENOMEM), .noBuffers: usleep(100_000)
                default: return
                }
            }
        }
    }

    /// Ends `run` from another thread and removes the socket file.
    package static func stop(descriptor: Int32, path: String) {
        _ = unsafe unlink(path)
        _ = shutdown(descriptor, Int32(SHUT_RDWR))
    }

    private borrowing func serve(_ connection: borrowing FileDescriptor, _ handle: (String) -> String) {
        var pending: [UInt8] = []
        defer { unsafe pending.withUnsafeMutableBytes { unsafe wipe($0) } }
        while pending.count <= Self.requestLimit {
            guard let chunk = try? connection.read(upTo: 65536), !chunk.isEmpty else { break }
            pending += chunk
            while let end = Self.endOfRequest(pending) {
                let request = String(decoding: pending[..<end], as: UTF8.self)
                unsafe pending.withUnsafeMutableBytes {
                    unsafe wipe(UnsafeMutableRawBufferPointer(rebasing: $0[..<end]))
                }
                pending.removeFirst(end)
                guard (try? connection.writeAll(Array(handle(request).utf8))) != nil else { return }
            }
        }
    }

    /// The index after the first empty line, or nil.
    static func endOfRequest(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 2 else { return nil }
        return (1..<bytes.count).first { bytes[$0] == 0x0A && bytes[$0 - 1] == 0x0A }.map { $0 + 1 }
    }
}
