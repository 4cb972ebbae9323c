import Glibc
import Linux

/// The attachment records of a data folder, read without a lock: each file is whole, for writers rename it into place.
///
///     DATADIR/attachments/NETWORK/CONTAINERID:IFNAME
///
/// Neither part can hold a colon. Writing is the store's (`Store+Attachments.swift`).
package struct AttachmentFolder: Hashable, Sendable {
    /// A record is some hundred bytes; whatever is longer is none.
    static let sizeLimit = 16384

    package let dataDir: String

    package init(dataDir: String) { self.dataDir = dataDir }

    private var path: String { "\(dataDir)/attachments" }

    /// The networks that have or had attachments.
    package func networks() throws(CNIError) -> [String] {
        try Self.names(in: path).filter { Invocation.isIdentifier($0) }.sorted()
    }

    /// Who has a record in a network, readable or not.
    package func holders(in network: String) throws(CNIError) -> [Store.Holder] {
        try Self.names(in: "\(path)/\(network)").compactMap { name in
            let parts = name.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, Invocation.isContainerID(parts[0]), Invocation.interfaceNameFault(parts[1]) == nil
            else { return nil }
            return Store.Holder(containerID: parts[0], ifName: parts[1])
        }
    }

    /// A record; nil when there is none. Throws when the file can't be read or holds anything else.
    package func record(of holder: Store.Holder, in network: String) throws(CNIError) -> AttachmentRecord? {
        let file = file(of: holder, in: network)
        let bytes: [UInt8]
        do throws(SystemError) {
            let descriptor = try FileDescriptor(open: file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            bytes = try descriptor.read(upTo: Self.sizeLimit + 1)
        } catch {
            if error.errno == .noEntry { return nil }
            throw .inputOutput("read attachment record \(file): \(error)")
        }
        guard bytes.count <= Self.sizeLimit else {
            throw .undecodable("read attachment record \(file): longer than \(Self.sizeLimit) bytes")
        }
        let record = try AttachmentRecord(parsing: bytes)
        guard record.holder == holder, record.network == network else {
            throw .undecodable("read attachment record \(file): it is another attachment's")
        }
        return record
    }

    /// Every readable record of a network.
    package func records(in network: String) throws(CNIError) -> [AttachmentRecord] {
        var records: [AttachmentRecord] = []
        for holder in try holders(in: network) {
            if let record = try? record(of: holder, in: network) { records.append(record) }
        }
        return records
    }

    /// Every readable record of every network.
    package func records() throws(CNIError) -> [AttachmentRecord] {
        var records: [AttachmentRecord] = []
        for network in try networks() { records += try self.records(in: network) }
        return records
    }

    func folder(of network: String) -> String { "\(path)/\(network)" }

    func file(of holder: Store.Holder, in network: String) -> String {
        "\(path)/\(network)/\(holder.containerID):\(holder.ifName)"
    }

    /// What is in a folder but for names with a leading dot; nothing when there is no such folder.
    static func names(in path: String) throws(CNIError) -> [String] {
        guard let folder = unsafe opendir(path) else {
            let errno = Errno.current
            if errno == .noEntry { return [] }
            throw .inputOutput(SystemError("list \(path)", errno).description)
        }
        defer { _ = unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            // Safe: d_name is NUL-terminated inside the entry, which lives until the next readdir.
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }
}
