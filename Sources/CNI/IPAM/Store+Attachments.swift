package import Addressing
import Glibc
import Linux

// An attachment's record is written before its addresses are reserved and removed after they are freed. So whoever is
// killed on the way leaves a record, by which DEL, GC or the reconciler finds the rest.

extension Store {
    private var attachments: AttachmentFolder { AttachmentFolder(dataDir: location.dataDir) }

    package borrowing func record(of holder: Holder) throws(CNIError) -> AttachmentRecord? {
        try attachments.record(of: holder, in: location.network)
    }

    /// Whether there is a record, readable or not.
    package borrowing func hasRecord(of holder: Holder) -> Bool {
        unsafe access(attachments.file(of: holder, in: location.network), F_OK) == 0
    }

    /// Writes the record, new or changed, so that it appears whole or not at all. Not synced: a store belongs on tmpfs,
    /// and what it says means nothing after a reboot.
    package borrowing func write(_ record: AttachmentRecord) throws(CNIError) {
        let folder = attachments.folder(of: location.network)
        let temporary = "\(folder)/.write"
        let target = attachments.file(of: record.holder, in: location.network)
        let bytes = record.json.serialized()
        do throws(SystemError) {
            do throws(SystemError) { try Self.create(temporary, holding: bytes) } catch {
                guard error.errno == .noEntry else { throw error }
                try Self.makeFolders(folder)
                try Self.create(temporary, holding: bytes)
            }
            _ = try check("rename \(temporary) to \(target)") { unsafe rename(temporary, target) }
        } catch {
            _ = unsafe unlink(temporary)
            throw .inputOutput("write attachment record \(target): \(error)")
        }
    }

    package borrowing func removeRecord(of holder: Holder) throws(CNIError) {
        let file = attachments.file(of: holder, in: location.network)
        if unsafe unlink(file) != 0, Errno.current != .noEntry {
            throw .inputOutput(SystemError("remove attachment record \(file)", .current).description)
        }
    }

    /// Writes the record and reserves its addresses. All or nothing.
    ///
    /// - Parameter reserving: whether the addresses are this store's to give; a delegated plugin keeps its own books.
    package borrowing func attach(_ record: AttachmentRecord, reserving: Bool = true) throws(CNIError) {
        try write(record)
        guard reserving else { return }
        let addresses = record.addresses.map(\.address)
        do throws(CNIError) {
            try reserve(addresses, for: record.holder)
        } catch {
            _ = try? detach(record.holder)
            throw error
        }
    }

    /// Frees the holder's addresses, then forgets it. What is not there is no error.
    ///
    /// Without a readable record all reservations are looked through: no plugin of ours leaves any, others may have.
    @discardableResult
    package borrowing func detach(_ holder: Holder) throws(CNIError) -> [IPAddress] {
        let addresses: [IPAddress]
        if let record = try? record(of: holder) {
            addresses = record.addresses.map(\.address)
        } else {
            addresses = Array(try taken())
        }
        var freed: [IPAddress] = []
        for address in addresses where self.holder(of: address) == holder {
            try remove(address)
            freed.append(address)
        }
        try removeRecord(of: holder)
        return freed.sorted()
    }
}
