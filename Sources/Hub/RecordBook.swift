package import Addressing
import Directory
import Membership
import Timing

/// The directory's records in the store: one under each agent's id, and a pointer under each name and address.
package struct RecordBook: Sendable {
    private static let recordPrefix = "directory/record/"

    private let store: any Store

    package init(store: any Store) { self.store = store }

    /// A record, and what its texts say, so that reading needs no verification again.
    struct Stored: Equatable, Sendable {
        let id: AgentID
        let record: Record
        let sequence: UInt64
        let issued: Int64
        /// The earlier of credential's and announcement's.
        let expires: Int64
        let name: String
        let addresses: [IPAddress]
        let groups: [GroupName]

        func isLive(at now: WallTime) -> Bool { now.seconds < expires }
    }

    enum Outcome: Equatable {
        /// `conflicts`: names and addresses that another agent's newer credential holds.
        case stored(conflicts: [String])
        case stale(UInt64)
    }

    func currentRevision() async throws(StoreError) -> Int64 { try await store.list(Self.recordPrefix).revision }

    func changes(
        after revision: Int64
    ) -> AsyncThrowingMapSequence<
        AsyncThrowingStream<StoreChange, any Error>, (revision: Int64, id: AgentID, stored: Stored?)
    > {
        store.watch(Self.recordPrefix, after: revision).map { (change) async throws in
            guard let id = AgentID(String(change.key.dropFirst(Self.recordPrefix.count))) else {
                throw StoreError.failed("\(change.key) is no record")
            }
            return (change.revision, id, change.value.flatMap { Stored(id: id, value: $0) })
        }
    }

    func get(_ id: AgentID) async throws(StoreError) -> Stored? { try await entry(id)?.stored }

    /// The live record that holds `key`.
    func find(_ key: Message.LookupKey, now: WallTime) async throws(StoreError) -> Stored? {
        let found: Stored?
        switch key {
        case .id(let id): found = try await get(id)
        case .name(let name):
            let stored = try await pointed(Self.key(name))
            found = stored?.name == name ? stored : nil
        case .address(let address):
            let stored = try await pointed(Self.key(address))
            found = stored?.addresses.contains(address) == true ? stored : nil
        }
        return found.flatMap { $0.isLive(at: now) ? $0 : nil }
    }

    /// Keeps a verified record if its sequence number is higher than the agent's last.
    func put(
        _ credential: Credential, _ announcement: Announcement, now: WallTime
    ) async throws(StoreError) -> Outcome {
        let stored = Stored(credential, announcement)
        let known = try await entry(stored.id)
        if let known = known?.stored {
            guard stored.sequence >= known.sequence else { return .stale(known.sequence) }
            if stored.sequence == known.sequence {
                // The same again is welcome, with a newer credential too; another text under the same number is not.
                guard stored.record.announcement == known.record.announcement else { return .stale(known.sequence) }
                if stored.issued <= known.issued { return .stored(conflicts: []) }
            }
        }
        // Before the record: an entry without one says nothing, and a record without its entries would miss them for ever.
        try await index(stored, before: known?.stored)
        do {
            try await store.put(
                stored.json.text, at: Self.recordPrefix + stored.id.description, ifRevision: known?.revision ?? 0)
        } catch .conflict { return try await put(credential, announcement, now: now) }
        var conflicts: [String] = []
        for (key, what) in [(Self.key(stored.name), stored.name)]
            + stored.addresses.map({ (Self.key($0), $0.description) })
        {
            if try await !point(key, to: stored, now: now) { conflicts.append(what) }
        }
        return .stored(conflicts: conflicts)
    }

    /// Removes an agent's record: after a release, nobody is led to it.
    package func remove(_ id: AgentID) async throws(StoreError) {
        guard let stored = try await entry(id)?.stored else { return }
        try await store.delete(Self.recordPrefix + id.description, ifRevision: nil)
        for group in stored.groups { try await store.delete(Self.key(group) + id.description, ifRevision: nil) }
        for key in [Self.key(stored.name)] + stored.addresses.map({ Self.key($0) }) {
            guard let entry = try await store.get(key), entry.value == Array(id.description.utf8) else { continue }
            try await store.delete(key, ifRevision: nil)
        }
    }

    func count() async throws(StoreError) -> Int { try await store.list(Self.recordPrefix).entries.count }

    /// Removes what has expired.
    func sweep(now: WallTime) async throws(StoreError) {
        for entry in try await store.list(Self.recordPrefix).entries {
            guard let id = AgentID(String(entry.key.dropFirst(Self.recordPrefix.count))),
                let stored = Stored(id: id, value: entry.value), !stored.isLive(at: now)
            else { continue }
            try await remove(id)
        }
    }

    /// Live members of `group`, others each time where there are more than `limit`.
    func members(of group: GroupName, limit: Int, now: WallTime) async throws(StoreError) -> [AgentID] {
        let prefix = Self.key(group)
        var members: [AgentID] = []
        for entry in try await store.list(prefix).entries.shuffled() where members.count < limit {
            guard let id = AgentID(String(entry.key.dropFirst(prefix.count))), let stored = try await get(id),
                stored.isLive(at: now), stored.groups.contains(group)
            else { continue }
            members.append(id)
        }
        return members
    }

    // MARK: Private parts

    private func index(_ stored: Stored, before: Stored?) async throws(StoreError) {
        for group in before?.groups ?? [] where !stored.groups.contains(group) {
            try await store.delete(Self.key(group) + stored.id.description, ifRevision: nil)
        }
        for group in stored.groups where before?.groups.contains(group) != true {
            // It is there already after a crash between two writes.
            do {
                try await store.put(
                    Array(stored.id.description.utf8), at: Self.key(group) + stored.id.description, ifRevision: 0)
            } catch .conflict {
            }
        }
    }

    private func entry(_ id: AgentID) async throws(StoreError) -> (stored: Stored?, revision: Int64)? {
        guard let entry = try await store.get(Self.recordPrefix + id.description) else { return nil }
        return (Stored(id: id, value: entry.value), entry.revision)
    }

    private func pointed(_ key: String) async throws(StoreError) -> Stored? {
        guard let entry = try await store.get(key), let id = AgentID(String(decoding: entry.value, as: UTF8.self))
        else {
            return nil
        }
        return try await get(id)
    }

    /// Points `key` to the record's agent, unless another agent's newer live credential holds it: after a release, the old
    /// holder's credential is still valid, but not shown. Returns whether it points there.
    private func point(_ key: String, to stored: Stored, now: WallTime) async throws(StoreError) -> Bool {
        let current = try await store.get(key)
        let value = Array(stored.id.description.utf8)
        if let current, current.value == value { return true }
        if current != nil, let other = try await pointed(key), other.isLive(at: now), other.issued > stored.issued,
            ([Self.key(other.name)] + other.addresses.map { Self.key($0) }).contains(key)
        {
            return false
        }
        do { try await store.put(value, at: key, ifRevision: current?.revision ?? 0) } catch .conflict {
            return try await point(key, to: stored, now: now)
        }
        return true
    }

    private static func key(_ group: GroupName) -> String { "directory/group/\(group)/" }
    private static func key(_ name: String) -> String { "directory/name/" + name }
    private static func key(_ address: IPAddress) -> String { "directory/address/" + address.description }
}

extension RecordBook.Stored {
    init(_ credential: Credential, _ announcement: Announcement) {
        id = credential.id
        record = Record(credential: credential.text, announcement: announcement.text)
        sequence = announcement.sequence
        issued = credential.issued.seconds
        expires = min(credential.expires.seconds, announcement.expires.seconds)
        name = credential.name
        addresses = credential.addresses
        groups = credential.groups
    }

    var json: JSONValue {
        .object([
            .init("credential", .string(record.credential)), .init("announcement", .string(record.announcement)),
            .init("seq", .number(sequence)), .init("iat", .number(UInt64(clamping: issued))),
            .init("exp", .number(UInt64(clamping: expires))), .init("name", .string(name)),
            .init("ips", .array(addresses.map { .string($0.description) })),
            .init("groups", .array(groups.map { .string($0.description) })),
        ])
    }

    init?(id: AgentID, value: [UInt8]) {
        guard let json = JSONValue(parsing: value), let credential = json["credential"]?.string,
            let announcement = json["announcement"]?.string, let sequence = json["seq"]?.number,
            let issued = json["iat"]?.number, let expires = json["exp"]?.number, let name = json["name"]?.string,
            let addresses = json["ips"]?.strings
        else { return nil }
        self.id = id
        record = Record(credential: credential, announcement: announcement)
        self.sequence = sequence
        self.issued = Int64(clamping: issued)
        self.expires = Int64(clamping: expires)
        self.name = name
        self.addresses = addresses.compactMap { IPAddress($0) }
        groups = (json["groups"]?.strings ?? []).compactMap { GroupName($0) }
    }
}
