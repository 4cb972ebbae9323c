import CLinux
import Glibc

/// An open file descriptor that is closed when its owner goes away.
///
/// Owned once; pass `raw` to calls that only borrow it. Not tied to a thread.
package struct FileDescriptor: ~Copyable, Sendable {
    package let raw: Int32

    /// Takes ownership of an open descriptor.
    package init(owning raw: Int32) { self.raw = raw }

    /// open(2) with O_CLOEXEC.
    package init(open path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(SystemError) {
        raw = try check("open \(path)") { unsafe CLinux_open(path, flags | O_CLOEXEC, mode) }
    }

    deinit { _ = Glibc.close(raw) }

    /// Gives up ownership without closing.
    package consuming func release() -> Int32 {
        let descriptor = raw
        discard self
        return descriptor
    }

    package borrowing func duplicate() throws(SystemError) -> FileDescriptor {
        let source = raw
        return FileDescriptor(owning: try check("dup") { CLinux_fcntl(source, F_DUPFD_CLOEXEC, 3) })
    }

    package borrowing func setNonBlocking() throws(SystemError) {
        let descriptor = raw
        let flags = try check("fcntl F_GETFL") { CLinux_fcntl(descriptor, F_GETFL, 0) }
        _ = try check("fcntl F_SETFL") { CLinux_fcntl(descriptor, F_SETFL, Int(flags | O_NONBLOCK)) }
    }

    /// read(2) up to `count` bytes; empty at the end of the file.
    package borrowing func read(upTo count: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let descriptor = raw
        let length = unsafe bytes.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, count) }
        guard length >= 0 else { throw SystemError("read", .current) }
        return Array(bytes.prefix(length))
    }

    /// Everything up to the end of the file; throws EFBIG past `limit` bytes.
    package borrowing func readToEnd(limit: Int) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let chunk: [UInt8]
            do { chunk = try read(upTo: 65536) } catch {
                if error.errno == .interrupted { continue }
                throw error
            }
            if chunk.isEmpty { return bytes }
            bytes += chunk
            if bytes.count > limit { throw SystemError("read", Errno(EFBIG)) }
        }
    }

    /// write(2) until all of `bytes` is written.
    package borrowing func writeAll(_ bytes: some Collection<UInt8>) throws(SystemError) {
        let buffer = Array(bytes)
        var offset = 0
        let descriptor = raw
        while offset < buffer.count {
            let written = unsafe buffer.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress?.advanced(by: offset), buffer.count - offset)
            }
            if written < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                throw SystemError("write", errno)
            }
            offset += written
        }
    }
}

extension FileDescriptor {
    /// What a symbolic link leads to (readlink(2)), at most 4095 bytes.
    package static func target(of path: String) throws(SystemError) -> String {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let length = try check("readlink \(path)") {
            unsafe bytes.withUnsafeMutableBytes { bytes in
                // Safe: as many bytes as the buffer has.
                unsafe Int32(
                    clamping: readlink(path, bytes.assumingMemoryBound(to: CChar.self).baseAddress!, bytes.count))
            }
        }
        return String(decoding: bytes.prefix(Int(length)), as: UTF8.self)
    }
}

/// Writes a line to the standard error output; a closed one is ignored.
package func writeErrorLine(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
}
