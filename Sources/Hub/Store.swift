/// Where a hub keeps what must outlive it: keys with values, each change with a revision. Five verbs, so that SQLite and the
/// Kubernetes API can both be behind it. Safe from any task.
///
/// A revision is a number that grows with every change anywhere in the store; 0 stands for "no such key".
package protocol Store: Sendable {
    func get(_ key: String) async throws(StoreError) -> StoreEntry?

    /// Writes if the key's revision is still `revision` (0: if there is no such key), and returns the new one.
    ///
    /// - Throws: `.conflict` when somebody else has written meanwhile.
    @discardableResult
    func put(_ value: [UInt8], at key: String, ifRevision revision: Int64) async throws(StoreError) -> Int64

    /// Removes the key; with a `revision`, only if it is still that one. A missing key is no error without a revision.
    func delete(_ key: String, ifRevision revision: Int64?) async throws(StoreError)

    /// Everything under `prefix`, by key, and the store's revision at that moment, for `watch`.
    func list(_ prefix: String) async throws(StoreError) -> (entries: [StoreEntry], revision: Int64)

    /// The changes under `prefix` after `revision`, in order, of this process and others; several changes of one key may
    /// come as the last. Throws `StoreError.compacted` when changes so old are not kept: list again.
    func watch(_ prefix: String, after revision: Int64) -> AsyncThrowingStream<StoreChange, any Error>
}

package struct StoreEntry: Equatable, Sendable {
    package let key: String
    package let value: [UInt8]
    package let revision: Int64
}

package struct StoreChange: Equatable, Sendable {
    package let key: String
    /// Nil when the key was deleted.
    package let value: [UInt8]?
    package let revision: Int64
}

package enum StoreError: Error, Equatable, Sendable, CustomStringConvertible {
    case conflict(key: String)
    case compacted
    case failed(String)

    package var description: String {
        switch self {
        case .conflict(let key): "\(key) was changed meanwhile"
        case .compacted: "changes so old are not kept"
        case .failed(let reason): reason
        }
    }
}
