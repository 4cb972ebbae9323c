import Addressing
import Glibc
import Linux

/// Which attachment has which port of this node: a folder in host-local's layout, locked. One for all networks of the
/// node, for they share its ports.
///
///     FOLDER/PORT         "containerID\r\nifname\r\nnetwork\r\nADDRESS\r\nPORT"
///     FOLDER/last         the port given out last
///     FOLDER/rules        what the rules in the kernel were made from
///     FOLDER/lock         flock(2)
///     FOLDER/flows        flock(2) of who makes conntrack forget
///     FOLDER/released-PORT-ADDRESS-PORT   a port that was a pod's, whose flows conntrack has to forget; empty
///     FOLDER/.write       a file being written
///
/// The lock is held as long as the value lives, and with it the right to change the table in the kernel. A record is
/// there before the kernel knows of the port and goes after the kernel has forgotten it: whoever is killed on the way
/// leaves a record, by which DEL or GC finds the rest. It appears whole or not at all.
struct PortStore: ~Copyable {
    let path: String
    private let lock: FileDescriptor

    /// Locks the store, after making its folder if there is none.
    init(creating path: String) throws(NodePortError) {
        do throws(SystemError) {
            do throws(SystemError) { lock = try Self.locked(path) } catch {
                guard error.errno == .noEntry else { throw error }
                var folder = ""
                for part in path.split(separator: "/") {
                    folder += "/\(part)"
                    if unsafe mkdir(folder, 0o755) != 0, Errno.current != .exists {
                        throw SystemError("make folder \(folder)", .current)
                    }
                }
                lock = try Self.locked(path)
            }
        } catch { throw .store(error.description) }
        self.path = path
    }

    /// Locks the store; nil when there is none.
    init?(existing path: String) throws(NodePortError) {
        do throws(SystemError) { lock = try Self.locked(path) } catch {
            if error.errno == .noEntry { return nil }
            throw .store(error.description)
        }
        self.path = path
    }

    private static func locked(_ path: String) throws(SystemError) -> FileDescriptor {
        let file = "\(path)/lock"
        let descriptor = try FileDescriptor(open: file, O_RDWR | O_CREAT | O_NOFOLLOW)
        let raw = descriptor.raw
        _ = try check("lock \(file)") { flock(raw, LOCK_EX) }
        return descriptor
    }

    /// The ports with a record, readable or not.
    borrowing func taken() throws(NodePortError) -> Set<UInt16> { Set(try names().compactMap { UInt16($0) }) }

    borrowing func record(of number: UInt16) -> PortRecord? {
        read("\(number)").flatMap { PortRecord(number: number, bytes: $0) }
    }

    borrowing func records() throws(NodePortError) -> [PortRecord] {
        try taken().sorted().compactMap { record(of: $0) }
    }

    /// Gives the port to the record's holder; false when another has it.
    borrowing func reserve(_ record: PortRecord) throws(NodePortError) -> Bool {
        let target = "\(path)/\(record.port.number)"
        let temporary = try write(record.bytes)
        defer { _ = unsafe unlink(temporary) }
        if unsafe link(temporary, target) == 0 { return true }
        let errno = Errno.current
        if errno == .exists { return false }
        throw .store(SystemError("reserve \(target)", errno).description)
    }

    borrowing func remove(_ number: UInt16) throws(NodePortError) {
        if unsafe unlink("\(path)/\(number)") != 0, Errno.current != .noEntry {
            throw .store(SystemError("free \(path)/\(number)", .current).description)
        }
    }

    /// The same as some moment found them, without the lock: each record is whole, and others may come and go.
    static func records(in path: String) throws(NodePortError) -> [PortRecord] {
        try names(in: path).compactMap { UInt16($0) }.compactMap { number in
            read("\(number)", in: path).flatMap { PortRecord(number: number, bytes: $0) }
        }
    }

    /// Notes that conntrack has to forget the port's flows: before its record goes.
    borrowing func setReleased(_ port: NodePort) throws(NodePortError) {
        do throws(SystemError) {
            _ = try FileDescriptor(open: Self.mark(port, in: path), O_WRONLY | O_CREAT | O_NOFOLLOW)
        } catch { throw .store("release node port \(port): \(error)") }
    }

    /// The ports whose flows are to be forgotten. Needs no lock.
    static func released(in folder: String) -> [NodePort] {
        ((try? names(in: folder)) ?? []).compactMap { name in
            let parts = name.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 4, parts[0] == releasedPrefix, let number = UInt16(parts[1]),
                let pod = IPv4Address(String(parts[2])), let podPort = UInt16(parts[3])
            else { return nil }
            return NodePort(number, pod: pod, podPort: podPort)
        }
    }

    static func setForgotten(_ port: NodePort, in folder: String) { _ = unsafe unlink(mark(port, in: folder)) }

    private static let releasedPrefix = "released"

    private static func mark(_ port: NodePort, in folder: String) -> String {
        "\(folder)/\(releasedPrefix)-\(port.number)-\(port.pod)-\(port.podPort)"
    }

    /// The port that was given out last.
    borrowing func last() -> UInt16? { text("last").flatMap { UInt16($0) } }
    borrowing func setLast(_ number: UInt16) throws(NodePortError) { try replace("last", "\(number)") }

    /// What the rules in the kernel were made from; nil when that is not known.
    borrowing func rules() -> String? { text("rules") }
    borrowing func setRules(_ text: String) throws(NodePortError) { try replace("rules", text) }

    /// Removes all records. The folder and its lock stay: somebody may wait for it.
    borrowing func removeAll() throws(NodePortError) {
        for name in try names() where !["lock", "flows", ".", ".."].contains(name) {
            _ = unsafe unlink("\(path)/\(name)")
        }
    }

    private borrowing func replace(_ name: String, _ text: String) throws(NodePortError) {
        let temporary = try write(Array(text.utf8))
        guard unsafe rename(temporary, "\(path)/\(name)") == 0 else {
            let error = SystemError("write \(path)/\(name)", .current)
            _ = unsafe unlink(temporary)
            throw .store(error.description)
        }
    }

    /// A new file: the old one may be linked to a port, where a kill left it so.
    private borrowing func write(_ bytes: [UInt8]) throws(NodePortError) -> String {
        let temporary = "\(path)/.write"
        do throws(SystemError) {
            _ = unsafe unlink(temporary)
            let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
            try file.writeAll(bytes)
        } catch {
            _ = unsafe unlink(temporary)
            throw .store("write \(temporary): \(error)")
        }
        return temporary
    }

    private borrowing func read(_ name: String) -> [UInt8]? { Self.read(name, in: path) }

    private static func read(_ name: String, in path: String) -> [UInt8]? {
        guard let file = try? FileDescriptor(open: "\(path)/\(name)", O_RDONLY | O_NOFOLLOW | O_NONBLOCK) else {
            return nil
        }
        return try? file.read(upTo: 4096)
    }

    private borrowing func text(_ name: String) -> String? { read(name).map { String(decoding: $0, as: UTF8.self) } }

    private borrowing func names() throws(NodePortError) -> [String] { try Self.names(in: path) }

    private static func names(in path: String) throws(NodePortError) -> [String] {
        guard let folder = unsafe opendir(path) else {
            throw .store(SystemError("list \(path)", .current).description)
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
        return names
    }
}
