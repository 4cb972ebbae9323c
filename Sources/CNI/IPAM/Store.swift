package import Addressing
import Glibc
import Linux

/// Which container holds which address of a network on this node: a folder in host-local's layout, locked.
///
///     NETWORK/ADDRESS               "containerID\r\nifname"
///     NETWORK/last_reserved_ip.0    the IPv4 address given out last
///     NETWORK/lock                  flock(2)
///     NETWORK/.reserve.PID          a record being written
///
/// The lock is held as long as the value lives. A record appears whole or not at all: it is written to a temporary
/// file, synced and linked to its name, so that a crash leaves at most a temporary file, which the next one removes.
package struct Store: ~Copyable {
    package let path: String
    private let lock: FileDescriptor

    /// The attachment that holds an address.
    package struct Holder: Hashable, Sendable {
        package let containerID: String
        package let ifName: String

        package init(containerID: String, ifName: String) {
            self.containerID = containerID
            self.ifName = ifName
        }

        var record: [UInt8] { Array("\(containerID)\r\n\(ifName)".utf8) }

        /// Nil for what no plugin writes: an empty or cut off record.
        init?(record: [UInt8]) {
            let lines = String(decoding: record, as: UTF8.self).split { $0.isNewline }
            guard let containerID = lines.first else { return nil }
            self.init(containerID: String(containerID), ifName: lines.count > 1 ? String(lines[1]) : "")
        }
    }

    /// Locks the store, after making its folder if there is none. Waits while another process has it locked.
    package init(creating path: String) throws(CNIError) {
        var folder = ""
        for part in path.split(separator: "/") {
            folder += "/\(part)"
            if unsafe mkdir(folder, 0o755) != 0, Errno.current != .exists {
                throw .inputOutput(SystemError("make folder \(folder)", .current).description)
            }
        }
        try self.init(path: path)
    }

    /// Locks the store; nil when there is none.
    package init?(existing path: String) throws(CNIError) {
        guard unsafe access(path, F_OK) == 0 else { return nil }
        try self.init(path: path)
    }

    private init(path: String) throws(CNIError) {
        lock = try Self.locked("\(path)/lock")
        self.path = path
    }

    private static func locked(_ file: String) throws(CNIError) -> FileDescriptor {
        do throws(SystemError) {
            let descriptor = try FileDescriptor(open: file, O_RDWR | O_CREAT | O_NOFOLLOW)
            let raw = descriptor.raw
            _ = try check("lock \(file)") { flock(raw, LOCK_EX) }
            return descriptor
        } catch {
            throw .inputOutput(error.description)
        }
    }

    /// Every address with a record, readable or not.
    package borrowing func taken() throws(CNIError) -> Set<IPAddress> {
        Set(try names().compactMap { IPAddress($0) })
    }

    /// Who holds the address; nil when nobody does.
    package borrowing func holder(of address: IPAddress) -> Holder? {
        read("\(address)").flatMap { Holder(record: $0) }
    }

    package borrowing func addresses(of holder: Holder) throws(CNIError) -> [IPAddress] {
        try taken().filter { self.holder(of: $0) == holder }.sorted()
    }

    /// Gives the address to `holder`; false when somebody has it. A record without content, which only a crashed
    /// plugin of another make leaves behind, is replaced.
    package borrowing func reserve(_ address: IPAddress, for holder: Holder) throws(CNIError) -> Bool {
        let target = "\(path)/\(address)"
        if let record = read("\(address)"), Holder(record: record) == nil { _ = unsafe unlink(target) }
        let temporary = try write(holder.record)
        defer { _ = unsafe unlink(temporary) }
        if unsafe link(temporary, target) == 0 { return true }
        let errno = Errno.current
        if errno == .exists { return false }
        throw .inputOutput(SystemError("reserve \(target)", errno).description)
    }

    /// Frees all addresses of the holder, and returns them.
    @discardableResult
    package borrowing func release(_ holder: Holder) throws(CNIError) -> [IPAddress] {
        let addresses = try addresses(of: holder)
        for address in addresses { try remove(address) }
        return addresses
    }

    package borrowing func remove(_ address: IPAddress) throws(CNIError) {
        if unsafe unlink("\(path)/\(address)") != 0, Errno.current != .noEntry {
            throw .inputOutput(SystemError("free \(path)/\(address)", .current).description)
        }
    }

    /// The IPv4 address that was given out last.
    package borrowing func lastReserved() -> IPv4Address? {
        read("last_reserved_ip.0").flatMap { IPv4Address(String(decoding: $0, as: UTF8.self)) }
    }

    package borrowing func setLastReserved(_ address: IPv4Address) throws(CNIError) {
        let temporary = try write(Array(address.description.utf8))
        let target = "\(path)/last_reserved_ip.0"
        guard unsafe rename(temporary, target) == 0 else {
            let error = SystemError("write \(target)", .current)
            _ = unsafe unlink(temporary)
            throw .inputOutput(error.description)
        }
    }

    /// Removes what crashed writers left: nobody else writes while we hold the lock.
    package borrowing func removeLeftovers() throws(CNIError) {
        for name in try names() where name.hasPrefix(".reserve.") { _ = unsafe unlink("\(path)/\(name)") }
    }

    /// Throws when no record could be written now.
    package borrowing func probe() throws(CNIError) { _ = unsafe unlink(try write([])) }

    private borrowing func write(_ bytes: [UInt8]) throws(CNIError) -> String {
        let temporary = "\(path)/.reserve.\(getpid())"
        do throws(SystemError) {
            _ = unsafe unlink(temporary)
            let file = try FileDescriptor(open: temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
            let raw = file.raw
            try file.writeAll(bytes)
            _ = try check("sync") { fsync(raw) }
        } catch {
            _ = unsafe unlink(temporary)
            throw .inputOutput("write \(temporary): \(error)")
        }
        return temporary
    }

    private borrowing func read(_ name: String) -> [UInt8]? {
        guard let file = try? FileDescriptor(open: "\(path)/\(name)", O_RDONLY | O_NOFOLLOW | O_NONBLOCK) else {
            return nil
        }
        return try? file.read(upTo: 1024)
    }

    private borrowing func names() throws(CNIError) -> [String] {
        guard let folder = unsafe opendir(path) else {
            throw .inputOutput(SystemError("list \(path)", .current).description)
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
