import Timing

/// A store whose answers are timed. A conflict is an answer, no failure.
struct MeteredStore: Store {
    let store: any Store
    let metrics: HubMetrics

    func get(_ key: String) async throws(StoreError) -> StoreEntry? {
        try await time("read") { () async throws(StoreError) in try await store.get(key) }
    }

    func put(_ value: [UInt8], at key: String, ifRevision revision: Int64) async throws(StoreError) -> Int64 {
        try await time("write") { () async throws(StoreError) in
            try await store.put(value, at: key, ifRevision: revision)
        }
    }

    func delete(_ key: String, ifRevision revision: Int64?) async throws(StoreError) {
        try await time("write") { () async throws(StoreError) in try await store.delete(key, ifRevision: revision) }
    }

    func list(_ prefix: String) async throws(StoreError) -> (entries: [StoreEntry], revision: Int64) {
        try await time("read") { () async throws(StoreError) in try await store.list(prefix) }
    }

    func watch(_ prefix: String, after revision: Int64) -> AsyncThrowingStream<StoreChange, any Error> {
        store.watch(prefix, after: revision)
    }

    private func time<Result>(
        _ operation: String, _ body: () async throws(StoreError) -> Result
    ) async throws(StoreError) -> Result {
        let start = MonotonicTime.now()
        do {
            let result = try await body()
            metrics.noteStore(operation, seconds: MonotonicTime.now().since(start).seconds, isFailed: false)
            return result
        } catch {
            let isConflict = if case .conflict = error { true } else { false }
            metrics.noteStore(operation, seconds: MonotonicTime.now().since(start).seconds, isFailed: !isConflict)
            throw error
        }
    }
}
