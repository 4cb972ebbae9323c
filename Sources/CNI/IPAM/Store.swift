package import Addressing
import Glibc
import Linux

/// Which container holds which address of a network on this node: a folder in host-local's layout, locked, and the
/// attachments' records beside it (`Store+Attachments.swift`).
///
///     DATADIR/networks/NETWORK/ADDRESS               "containerID\r\nifname"
///     DATADIR/networks/NETWORK/last_reserved_ip.0    the IPv4 address given out last
///     DATADIR/networks/NETWORK/lock                  flock(2)
///     DATADIR/networks/NETWORK/.reserve              a reservation being written
///
/// The lock is held as long as the value lives. A reservation appears whole or not at all: it is written to a temporary
/// file that is then linked to each of the holder's addresses.
package struct Store: ~Copyable {
    package let location: StoreLocation
    private let lock: FileDescriptor

    /// The attachment that holds an address.
    package struct Holder: Hashable, Sendable {
        package let containerID: String
        package let ifName: String

        package init(containerID: String, ifName: String) {
            self.containerID = containerID
            self.ifName = ifName
        }

        var reservation: [UInt8] { Array("\(containerID)\r\n\(ifName)".utf8) }

        /// Nil for what no plugin writes: an empty or cut off reservation.
        init?(reservation: [UInt8]) {
            let lines = String(decoding: reservation, as: UTF8.self).split { $0.isNewline }
            guard let containerID = lines.first else { return nil }
            self.init(containerID: String(containerID), ifName: lines.count > 1 ? String(lines[1]) : "")
        }
    }

    /// Locks the store, after making its folder if there is none. Waits while another process has it locked.
    package init(creating location: StoreLocation) throws(CNIError) {
        do throws(SystemError) {
            do throws(SystemError) { lock = try Self.locked(location) } catch {
                guard error.errno == .noEntry else { throw error }
                try Self.makeFolders(location.addresses)
                lock = try Self.locked(location)
            }
        } catch {
            throw .inputOutput(error.description)
        }
        self.location = location
    }

    /// Locks the store; nil when there is none.
    package init?(existing location: StoreLocation) throws(CNIError) {
        do throws(SystemError) { lock = try Self.locked(location) } catch {
            if error.errno == .noEntry { return nil }
            throw .inputOutput(error.description)
        }
        self.location = location
    }

    private static func locked(_ location: StoreLocation) throws(SystemError) -> FileDescriptor {
        let file = "\(location.addresses)/lock"
        let descriptor = try FileDescriptor(open: file, O_RDWR | O_CREAT | O_NOFOLLOW)
        let raw = descriptor.raw
        _ = try check("lock \(file)") { flock(raw, LOCK_EX) }
        return descriptor
    }

    /// Every address with a reservation, readable or not.
    package borrowing func taken() throws(CNIError) -> Set<IPAddress> {
        Set(try AttachmentFolder.names(in: location.addresses).compactMap { IPAddress($0) })
    }

    package borrowing func isTaken(_ address: IPAddress) -> Bool { unsafe access(file(of: address), F_OK) == 0 }

    /// Who holds the address; nil when nobody does, or the reservation says nothing.
    package borrowing func holder(of address: IPAddress) -> Holder? {
        read("\(address)").flatMap { Holder(reservation: $0) }
    }

    /// Gives all of the addresses to `holder`, or none.
    package borrowing func reserve(_ addresses: [IPAddress], for holder: Holder) throws(CNIError) {
        let temporary = "\(location.addresses)/.reserve"
        do throws(SystemError) { try Self.create(temporary, holding: holder.reservation) } catch {
            throw .inputOutput("reserve for container \(holder.containerID): \(error)")
        }
        // Linked to an address and left here by a kill, it would be the next one's: `create` begins with another file.
        defer { _ = unsafe unlink(temporary) }
        var done: [IPAddress] = []
        for address in addresses {
            if unsafe link(temporary, file(of: address)) == 0 {
                done.append(address)
                continue
            }
            let errno = Errno.current
            for address in done { _ = unsafe unlink(file(of: address)) }
            if errno == .exists {
                let owner = self.holder(of: address)?.containerID ?? "unknown"
                throw .addressTaken("reserve \(address) for \(holder): container \(owner) holds it")
            }
            throw .inputOutput(SystemError("reserve \(file(of: address))", errno).description)
        }
    }

    /// Removes the reservation if it holds nothing, as only a crashed plugin of another make leaves one.
    package borrowing func removeIfEmpty(_ address: IPAddress) {
        if let reservation = read("\(address)"), Holder(reservation: reservation) == nil {
            _ = unsafe unlink(file(of: address))
        }
    }

    package borrowing func remove(_ address: IPAddress) throws(CNIError) {
        let file = file(of: address)
        if unsafe unlink(file) != 0, Errno.current != .noEntry {
            throw .inputOutput(SystemError("free \(file)", .current).description)
        }
    }

    /// The IPv4 address that was given out last.
    package borrowing func lastReserved() -> IPv4Address? {
        read("last_reserved_ip.0").flatMap { IPv4Address(String(decoding: $0, as: UTF8.self)) }
    }

    /// A hint: one that is cut off by a kill begins the round anew.
    package borrowing func setLastReserved(_ address: IPv4Address) throws(CNIError) {
        let file = "\(location.addresses)/last_reserved_ip.0"
        do throws(SystemError) {
            try FileDescriptor(open: file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW).writeAll(
                Array(address.description.utf8))
        } catch {
            throw .inputOutput("write \(file): \(error)")
        }
    }

    /// Throws when nothing could be written now.
    package borrowing func probe() throws(CNIError) {
        let file = "\(location.addresses)/.probe"
        do throws(SystemError) { try Self.create(file, holding: [0x0a]) } catch {
            throw .inputOutput("write to the store: \(error)")
        }
        _ = unsafe unlink(file)
    }

    private borrowing func file(of address: IPAddress) -> String { "\(location.addresses)/\(address)" }

    private borrowing func read(_ name: String) -> [UInt8]? {
        let file = "\(location.addresses)/\(name)"
        guard let file = try? FileDescriptor(open: file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) else { return nil }
        return try? file.read(upTo: 1024)
    }

    /// A new file with this content, instead of one of that name, which may have a second name.
    static func create(_ file: String, holding bytes: [UInt8]) throws(SystemError) {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW
        let descriptor: FileDescriptor
        do throws(SystemError) { descriptor = try FileDescriptor(open: file, flags) } catch {
            guard error.errno == .exists else { throw error }
            _ = unsafe unlink(file)
            descriptor = try FileDescriptor(open: file, flags)
        }
        do throws(SystemError) { try descriptor.writeAll(bytes) } catch {
            _ = unsafe unlink(file)
            throw SystemError("write \(file)", error.errno)
        }
    }

    /// The folder and those it is in.
    static func makeFolders(_ path: String) throws(SystemError) {
        var folder = ""
        for part in path.split(separator: "/") {
            folder += "/\(part)"
            if unsafe mkdir(folder, 0o755) != 0, Errno.current != .exists {
                throw SystemError("make folder \(folder)", .current)
            }
        }
    }
}

extension Store.Holder: CustomStringConvertible {
    package var description: String { "container \(containerID) interface \(ifName)" }
}
