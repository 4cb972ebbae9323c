import Addressing
package import Membership
import Timing

/// Which node has which block, in the store: a lease under its node's id. Few and small, so the whole is read each time.
package struct NodeBook: Sendable {
    private static let prefix = "authority/node/"
    /// Changed with every lease, so that two hubs that decide at once can't give the same number.
    private static let turn = "authority/node-turn"

    private let store: any Store

    package init(store: any Store) { self.store = store }

    package func list() async throws(StoreError) -> [NodeLease] {
        try await store.list(Self.prefix).entries.compactMap {
            JSONValue(parsing: $0.value).flatMap { NodeLease(json: $0) }
        }
    }

    /// What must not have changed between `list` and `put`: taken before the first.
    func currentTurn() async throws(StoreError) -> Int64 { try await store.get(Self.turn)?.revision ?? 0 }

    /// Writes a lease.
    ///
    /// - Throws: `.conflict` when another lease was written since `turn` was taken: decide again.
    func put(_ lease: NodeLease, turn: Int64) async throws(StoreError) {
        try await store.put(Array(lease.id.description.utf8), at: Self.turn, ifRevision: turn)
        let key = Self.prefix + lease.id.description
        let revision = try await store.get(key)?.revision ?? 0
        try await store.put(lease.json.text, at: key, ifRevision: revision)
    }

    /// Frees the block of the node called `name`, whose machine is gone for good; nil when there is none.
    package func release(_ name: String) async throws(StoreError) -> NodeLease? {
        guard let lease = try await list().first(where: { $0.name == name }) else { return nil }
        try await store.delete(Self.prefix + lease.id.description, ifRevision: nil)
        return lease
    }

    func remove(_ lease: NodeLease) async throws(StoreError) {
        try await store.delete(Self.prefix + lease.id.description, ifRevision: nil)
    }

    /// Removes leases that have ended.
    func sweep(now: WallTime) async throws(StoreError) {
        for lease in try await list() where !lease.isLive(at: now) {
            try await store.delete(Self.prefix + lease.id.description, ifRevision: nil)
        }
    }
}
