import Foundation
import GRDB
import Synchronization

/// The store in one SQLite file (WAL), which several processes may open: `serve` and the commands beside it.
package final class SQLiteStore: Store {
    /// Deletions are remembered for at least this many changes, for `watch`.
    static let history: Int64 = 10_000
    /// How soon another process's changes are noticed.
    static let pollInterval: UInt64 = 1_000_000_000

    private let pool: DatabasePool
    private let wakers = Mutex<(next: Int, waiting: [Int: AsyncStream<Void>.Continuation])>((0, [:]))

    /// Opens the file, and makes it when it is missing.
    package init(path: String) throws(StoreError) {
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA synchronous = FULL") }
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try Self.migrator.migrate(pool)
        } catch { throw .failed("open \(path): \(error)") }
    }

    private static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { database in
            // A deleted key is a row without a value until history is compacted.
            try database.execute(
                sql: """
                    CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
                    CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL,
                        compacted INTEGER NOT NULL);
                    INSERT INTO counter VALUES (1, 0, 0);
                    """)
        }
        return migrator
    }

    package func get(_ key: String) async throws(StoreError) -> StoreEntry? {
        try await read { database in
            try Row.fetchOne(
                database, sql: "SELECT value, revision FROM entry WHERE key = ? AND value IS NOT NULL", arguments: [key]
            ).map { StoreEntry(key: key, value: Array($0["value"] as Data), revision: $0["revision"]) }
        }
    }

    @discardableResult
    package func put(_ value: [UInt8], at key: String, ifRevision revision: Int64) async throws(StoreError) -> Int64 {
        try await change(key, value, ifRevision: revision) ?? revision
    }

    package func delete(_ key: String, ifRevision revision: Int64?) async throws(StoreError) {
        _ = try await change(key, nil, ifRevision: revision)
    }

    package func list(_ prefix: String) async throws(StoreError) -> (entries: [StoreEntry], revision: Int64) {
        try await read { database in
            let rows = try Row.fetchAll(
                database,
                sql:
                    "SELECT key, value, revision FROM entry WHERE key >= ? AND key < ? AND value IS NOT NULL ORDER BY key",
                arguments: [prefix, prefix + "\u{10FFFF}"])
            let entries = rows.map {
                StoreEntry(key: $0["key"], value: Array($0["value"] as Data), revision: $0["revision"])
            }
            return (entries, try Int64.fetchOne(database, sql: "SELECT revision FROM counter") ?? 0)
        }
    }

    package func watch(_ prefix: String, after revision: Int64) -> AsyncThrowingStream<StoreChange, any Error> {
        let cursor = WatchCursor(store: self, prefix: prefix, revision: revision)
        return AsyncThrowingStream { try await cursor.next() }
    }

    // MARK: Private parts

    private func read<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do { return try await pool.read(body) } catch { throw .failed("\(error)") }
    }

    /// The new revision; nil when an unconditional deletion found nothing.
    private func change(_ key: String, _ value: [UInt8]?, ifRevision expected: Int64?) async throws(StoreError)
        -> Int64?
    {
        do {
            let revision = try await pool.write { database -> Int64? in
                let current =
                    try Int64.fetchOne(
                        database, sql: "SELECT revision FROM entry WHERE key = ? AND value IS NOT NULL",
                        arguments: [key])
                    ?? 0
                guard current == expected ?? current else { throw StoreError.conflict(key: key) }
                if value == nil, current == 0 { return nil }
                try database.execute(sql: "UPDATE counter SET revision = revision + 1")
                let revision = try Int64.fetchOne(database, sql: "SELECT revision FROM counter") ?? 0
                try database.execute(
                    sql: """
                        INSERT INTO entry (key, value, revision) VALUES (?, ?, ?)
                        ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision
                        """, arguments: [key, value.map { Data($0) }, revision])
                if revision % 1000 == 0, revision > Self.history {
                    let horizon = revision - Self.history
                    try database.execute(
                        sql: "DELETE FROM entry WHERE value IS NULL AND revision <= ?", arguments: [horizon])
                    try database.execute(sql: "UPDATE counter SET compacted = ?", arguments: [horizon])
                }
                return revision
            }
            wake()
            return revision
        } catch let error as StoreError { throw error } catch { throw .failed("\(error)") }
    }

    fileprivate func changes(_ prefix: String, after revision: Int64) async throws(StoreError) -> [StoreChange]? {
        try await read { database -> [StoreChange]? in
            let compacted = try Int64.fetchOne(database, sql: "SELECT compacted FROM counter") ?? 0
            guard revision >= compacted else { return nil }
            return try Row.fetchAll(
                database,
                sql: """
                    SELECT key, value, revision FROM entry WHERE revision > ? AND key >= ? AND key < ?
                    ORDER BY revision LIMIT 256
                    """, arguments: [revision, prefix, prefix + "\u{10FFFF}"]
            ).map {
                StoreChange(key: $0["key"], value: ($0["value"] as Data?).map { Array($0) }, revision: $0["revision"])
            }
        }
    }

    private func wake() {
        let waiting = wakers.withLock { state in
            defer { state.waiting = [:] }
            return state.waiting
        }
        for waker in waiting.values {
            waker.yield()
            waker.finish()
        }
    }

    /// A stream that ends at the next change made through this object.
    fileprivate func nextChange() -> (id: Int, AsyncStream<Void>) {
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        let id = wakers.withLock { state in
            state.next += 1
            state.waiting[state.next] = continuation
            return state.next
        }
        return (id, stream)
    }

    fileprivate func stopWaiting(_ id: Int) { _ = wakers.withLock { $0.waiting.removeValue(forKey: id) } }
}

/// Where a watcher is in the store's history.
private actor WatchCursor {
    private let store: SQLiteStore
    private let prefix: String
    private var revision: Int64
    private var changes: ArraySlice<StoreChange> = []

    init(store: SQLiteStore, prefix: String, revision: Int64) {
        self.store = store
        self.prefix = prefix
        self.revision = revision
    }

    /// Waits for the next change; nil once the task is cancelled.
    func next() async throws -> StoreChange? {
        while changes.isEmpty {
            if Task.isCancelled { return nil }
            // Waiting begins before reading, so that no change falls in between.
            let (id, changed) = store.nextChange()
            defer { store.stopWaiting(id) }
            guard let found = try await store.changes(prefix, after: revision) else { throw StoreError.compacted }
            changes = found[...]
            if !changes.isEmpty { break }
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in changed {} }
                group.addTask { try? await Task.sleep(nanoseconds: SQLiteStore.pollInterval) }
                await group.next()
                group.cancelAll()
            }
        }
        let change = changes.removeFirst()
        revision = change.revision
        return change
    }
}
