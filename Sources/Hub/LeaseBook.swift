import Addressing
package import Membership
import Timing

/// Who holds which name and address, in the store.
///
/// A lease is kept under its agent's id. A claim, under a name or address, points to an agent; it counts only while that
/// agent's lease is live and says the same, so that no crash between two writes leaves anything held for ever.
package struct LeaseBook: Sendable {
    private static let leasePrefix = "authority/lease/"

    private let store: any Store

    package init(store: any Store) { self.store = store }

    func get(_ id: AgentID) async throws(StoreError) -> (lease: Lease, revision: Int64)? {
        guard let entry = try await store.get(Self.leasePrefix + id.description),
            let lease = JSONValue(parsing: entry.value).flatMap({ Lease(json: $0) })
        else { return nil }
        return (lease, entry.revision)
    }

    package func list() async throws(StoreError) -> [Lease] {
        try await store.list(Self.leasePrefix).entries.compactMap {
            JSONValue(parsing: $0.value).flatMap { Lease(json: $0) }
        }
    }

    /// The lease that holds `name`; it may have expired.
    func holder(ofName name: String) async throws(StoreError) -> Lease? {
        guard let lease = try await claimant(Self.key(name)), lease.name == name else { return nil }
        return lease
    }

    /// The lease that holds `address`; it may have expired.
    func holder(of address: IPAddress) async throws(StoreError) -> Lease? {
        guard let lease = try await claimant(Self.key(address)), lease.addresses.contains(address) else { return nil }
        return lease
    }

    private func claimant(_ key: String) async throws(StoreError) -> Lease? {
        guard let entry = try await store.get(key), let id = AgentID(String(decoding: entry.value, as: UTF8.self))
        else {
            return nil
        }
        return try await get(id)?.lease
    }

    /// Writes `lease` and claims for what it holds, and frees what its agent held before.
    ///
    /// The caller has checked that all of it is free, and lets nobody else write leases meanwhile.
    ///
    /// - Throws: `.conflict` when another process got in between; then nothing has changed.
    func put(_ lease: Lease) async throws(StoreError) {
        let key = Self.leasePrefix + lease.id.description
        let before = try await get(lease.id)
        let revision = try await store.put(lease.json.text, at: key, ifRevision: before?.revision ?? 0)
        do {
            for claim in Self.claims(of: lease) {
                let current = try await store.get(claim)
                try await store.put(Array(lease.id.description.utf8), at: claim, ifRevision: current?.revision ?? 0)
            }
        } catch {
            if let before {
                try await store.put(before.lease.json.text, at: key, ifRevision: revision)
            } else {
                try await store.delete(key, ifRevision: revision)
            }
            throw error
        }
        if let before {
            let kept = Set(Self.claims(of: lease))
            for claim in Self.claims(of: before.lease) where !kept.contains(claim) {
                try await free(claim, of: lease.id)
            }
        }
    }

    /// Gives up a lease and its claims.
    func remove(_ lease: Lease) async throws(StoreError) {
        try await store.delete(Self.leasePrefix + lease.id.description, ifRevision: nil)
        for claim in Self.claims(of: lease) { try await free(claim, of: lease.id) }
    }

    /// Frees what a name or address is part of: the agent's lease and all that it holds. The agent can't renew; its
    /// credential is accepted by peers until it expires.
    ///
    /// - Returns: the lease; nil when nobody holds it.
    package func release(_ nameOrAddress: String) async throws(StoreError) -> Lease? {
        let lease =
            if let address = IPAddress(nameOrAddress) { try await holder(of: address) } else {
                try await holder(ofName: nameOrAddress)
            }
        if let lease { try await remove(lease) }
        return lease
    }

    /// Removes leases that have expired.
    func sweep(now: WallTime) async throws(StoreError) {
        for lease in try await list() where !lease.isLive(at: now) { try await remove(lease) }
    }

    private func free(_ claim: String, of id: AgentID) async throws(StoreError) {
        guard let entry = try await store.get(claim), entry.value == Array(id.description.utf8) else { return }
        do { try await store.delete(claim, ifRevision: entry.revision) } catch .conflict {
            // Somebody else claimed it in between: it is not ours to free.
            return
        }
    }

    private static func claims(of lease: Lease) -> [String] { [key(lease.name)] + lease.addresses.map { key($0) } }
    private static func key(_ name: String) -> String { "authority/name/" + name }
    private static func key(_ address: IPAddress) -> String { "authority/address/" + address.description }
}
