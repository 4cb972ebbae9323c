import Testing

@testable import Hub

@Suite struct SQLiteStoreTests {
    private func withStore(_ body: (SQLiteStore, String) async throws -> Void) async throws {
        try await TestHub.with { hub in try await body(hub.folder.openStore(), hub.folder.path) }
    }

    @Test func `what is put is got, with a growing revision`() async throws {
        try await withStore { store, _ in
            #expect(try await store.get("a") == nil)
            let first = try await store.put([1], at: "a", ifRevision: 0)
            let second = try await store.put([2], at: "b", ifRevision: 0)
            #expect(second > first)
            #expect(try await store.get("a") == StoreEntry(key: "a", value: [1], revision: first))
        }
    }

    @Test func `a put on another revision is a conflict and changes nothing`() async throws {
        try await withStore { store, _ in
            let first = try await store.put([1], at: "a", ifRevision: 0)
            await #expect(throws: StoreError.conflict(key: "a")) { try await store.put([2], at: "a", ifRevision: 0) }
            await #expect(throws: StoreError.conflict(key: "b")) {
                try await store.put([2], at: "b", ifRevision: first)
            }
            let second = try await store.put([3], at: "a", ifRevision: first)
            await #expect(throws: StoreError.conflict(key: "a")) {
                try await store.put([4], at: "a", ifRevision: first)
            }
            await #expect(throws: StoreError.conflict(key: "a")) { try await store.delete("a", ifRevision: first) }
            #expect(try await store.get("a") == StoreEntry(key: "a", value: [3], revision: second))
        }
    }

    @Test func `of many writers at one revision one wins`() async throws {
        try await withStore { store, _ in
            let wins = await withTaskGroup(of: Bool.self) { group in
                for number in 0..<20 as Range<UInt8> {
                    group.addTask { (try? await store.put([number], at: "a", ifRevision: 0)) != nil }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(wins == 1)
        }
    }

    @Test func `a deleted key is gone and can be made again`() async throws {
        try await withStore { store, _ in
            let first = try await store.put([1], at: "a", ifRevision: 0)
            try await store.delete("a", ifRevision: first)
            #expect(try await store.get("a") == nil)
            try await store.delete("a", ifRevision: nil)
            try await store.put([2], at: "a", ifRevision: 0)
            #expect(try await store.get("a")?.value == [2])
        }
    }

    @Test func `a list has the keys under a prefix and no others`() async throws {
        try await withStore { store, _ in
            for key in ["a/2", "a/1", "a", "a0", "b/1", "a/é"] { try await store.put([1], at: key, ifRevision: 0) }
            try await store.delete("a/2", ifRevision: nil)
            let (entries, revision) = try await store.list("a/")
            #expect(entries.map(\.key) == ["a/1", "a/é"])
            #expect(revision == 7)
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a watch sees what comes after its revision, of other processes too`() async throws {
        try await withStore { store, path in
            let first = try await store.put([1], at: "a/1", ifRevision: 0)
            try await store.put([2], at: "a/2", ifRevision: 0)
            var changes = store.watch("a/", after: first).makeAsyncIterator()
            #expect(try await changes.next()?.key == "a/2")
            try await store.put([3], at: "b/1", ifRevision: 0)
            try await store.delete("a/1", ifRevision: nil)
            let deletion = try await changes.next()
            #expect(deletion?.key == "a/1")
            #expect(deletion?.value == nil)
            // A second connection to the file stands for another process.
            let other = try SQLiteStore(path: "\(path)/hub.sqlite")
            async let next = changes.next()
            try await other.put([4], at: "a/3", ifRevision: 0)
            #expect(try await next?.value == [4])
        }
    }

    @Test func `a watch from before the kept history says so`() async throws {
        try await withStore { store, _ in
            var revision: Int64 = 0
            for number in 0..<11_001 {
                revision = try await store.put([UInt8(number & 255)], at: "a", ifRevision: revision)
            }
            await #expect(throws: StoreError.compacted) {
                for try await _ in store.watch("", after: 1) { break }
            }
            var changes = store.watch("", after: revision - 1).makeAsyncIterator()
            #expect(try await changes.next()?.revision == revision)
        }
    }
}
