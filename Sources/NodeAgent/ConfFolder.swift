import Glibc
import Linux

/// The folder of network configurations that a runtime reads, of which it takes the first by name.
struct ConfFolder: Sendable {
    /// A configuration is a few KiB.
    static let sizeLimit = 1 << 20
    /// What libcni takes for a configuration (ConfFiles). The first is a list, the others are one plugin.
    static let listSuffix = ".conflist"
    static let singleSuffixes = [".conf", ".json"]
    /// What a wrapped file is called afterwards: no configuration to anybody.
    static let backupSuffix = ".bak"

    let path: String

    /// A configuration as it was read, or why it is none.
    struct File: Sendable {
        let name: String
        let path: String
        let stamp: FileStamp?
        /// As a list; a single plugin's is wrapped.
        let list: Result<Conflist, Conflist.Fault>

        var isSingle: Bool { !name.hasSuffix(ConfFolder.listSuffix) }
        /// The file that holds the list: itself, or what a single plugin's is wrapped into.
        var listPath: String {
            isSingle ? "\(path.dropLast(ConfFolder.suffix(of: name).count))\(ConfFolder.listSuffix)" : path
        }
        var backupPath: String { path + ConfFolder.backupSuffix }
    }

    /// All configurations, in the order in which a runtime looks at them.
    func files() throws(SystemError) -> [File] { try names().map { read($0) } }

    func read(_ name: String) -> File {
        let plain = "\(path)/\(name)"
        // An administrator's link to a list stays one: what it leads to is changed.
        let isSingle = !name.hasSuffix(Self.listSuffix)
        let real = unsafe isSingle ? nil : realpath(plain, nil)
        defer { unsafe free(real) }
        let target = unsafe real.map { unsafe String(cString: $0) } ?? plain
        let stamp = FileStamp(target)
        let list: Result<Conflist, Conflist.Fault>
        do {
            let bytes = try FileDescriptor(open: target, O_RDONLY | O_NONBLOCK).readToEnd(limit: Self.sizeLimit)
            list = Result { () throws(Conflist.Fault) in
                try Conflist(parsing: isSingle ? Conflist.wrapping(conf: bytes) : bytes)
            }
        } catch { list = .failure(Conflist.Fault(description: "\(error)")) }
        return File(name: name, path: target, stamp: stamp, list: list)
    }

    static func suffix(of name: String) -> String {
        ([listSuffix] + singleSuffixes).first { name.hasSuffix($0) } ?? ""
    }

    /// All names, those of configurations and others.
    func allNames() throws(SystemError) -> [String] {
        guard let folder = unsafe opendir(path) else {
            if Errno.current == .noEntry { return [] }
            throw SystemError("list \(path)", .current)
        }
        defer { _ = unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            // Safe: d_name is NUL-terminated inside the entry, which lives until the next readdir.
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            names.append(name)
        }
        // By bytes, as Go sorts.
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private func names() throws(SystemError) -> [String] { try allNames().filter { !Self.suffix(of: $0).isEmpty } }
}
