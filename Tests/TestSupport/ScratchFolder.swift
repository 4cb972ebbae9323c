import Glibc
import Linux

/// A folder that goes away with its owner.
package final class ScratchFolder: Sendable {
    package let path: String

    package init() throws {
        var template = Array("/tmp/warren-test-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw SystemError("mkdtemp", .current) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        // No symbolic link is followed: it is unlinked itself.
        func remove(_ path: String) {
            if unsafe unlink(path) == 0 { return }
            for name in ScratchFolder.names(path) { remove("\(path)/\(name)") }
            _ = unsafe rmdir(path)
        }
        remove(path)
    }

    package func makeFolder(_ name: String) throws {
        guard unsafe mkdir("\(path)/\(name)", 0o755) == 0 else { throw SystemError("mkdir \(name)", .current) }
    }

    package func write(_ text: String, to name: String, mode: UInt32 = 0o644) throws {
        _ = unsafe unlink("\(path)/\(name)")
        let file = try FileDescriptor(open: "\(path)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: mode)
        try file.writeAll(Array(text.utf8))
        _ = unsafe chmod("\(path)/\(name)", mode)
    }

    package func append(_ bytes: [UInt8], to name: String) throws {
        try FileDescriptor(open: "\(path)/\(name)", O_WRONLY | O_APPEND).writeAll(bytes)
    }

    /// Nil when there is no such file.
    package func read(_ name: String) -> String? {
        (try? FileDescriptor(open: "\(path)/\(name)", O_RDONLY).readToEnd(limit: 1 << 26))
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// The file's text; empty when there is none.
    package func text(_ name: String) -> String { read(name) ?? "" }

    package func mode(_ name: String) -> UInt32? {
        var status = stat()
        return unsafe stat("\(path)/\(name)", &status) == 0 ? status.st_mode & 0o7777 : nil
    }

    package func remove(_ name: String) { _ = unsafe unlink("\(path)/\(name)") }
    package func rename(_ name: String, to other: String) {
        _ = unsafe Glibc.rename("\(path)/\(name)", "\(path)/\(other)")
    }
    package func names(_ folder: String) -> [String] { Self.names("\(path)/\(folder)").sorted() }

    /// What is in a folder; nothing when there is none.
    package static func names(_ path: String) -> [String] {
        guard let folder = unsafe opendir(path) else { return [] }
        defer { _ = unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}
