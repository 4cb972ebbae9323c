package import Addressing
package import Membership
package import Sodium
package import Timing

/// The authority's join tokens in the store: under their hashes, so that a stolen database joins nobody.
package struct TokenBook: Sendable {
    private static let prefix = "authority/token/"

    private let store: any Store

    package init(store: any Store) { self.store = store }

    /// Records a fresh token and returns its secret, which is kept nowhere.
    package func create(
        kind: TokenGrant.Kind = .agent, pattern: NamePattern, ranges: [IPPrefix], groups: [GroupName] = [],
        uses: UInt64, expires: WallTime
    ) async throws(HubError) -> SecretKey {
        do {
            var random = SecureRandom()
            let secret = try SecretKey(using: &random)
            let grant = TokenGrant(
                kind: kind, hash: JoinToken.hash(ofSecret: secret), pattern: pattern, ranges: ranges, groups: groups,
                usesLeft: uses, expires: expires)
            try await store.put(grant.json.text, at: Self.key(grant.hash), ifRevision: 0)
            return secret
        } catch let error as StoreError { throw .store(error) } catch { throw .tls("\(error)") }
    }

    package func list() async throws(StoreError) -> [TokenGrant] {
        try await store.list(Self.prefix).entries.compactMap {
            guard let hash = Hexadecimal.decode($0.key.dropFirst(Self.prefix.count)).flatMap({ Bytes32($0) }) else {
                return nil
            }
            return JSONValue(parsing: $0.value).flatMap { TokenGrant(hash: hash, json: $0) }
        }
    }

    /// Removes the one token whose hash begins with `id` (8 digits at least); it joins nobody from now on.
    package func revoke(_ id: String) async throws(HubError) -> TokenGrant {
        do {
            let matches = try await list().filter { id.count >= 8 && $0.hash.description.hasPrefix(id.lowercased()) }
            guard matches.count == 1, let grant = matches.first else {
                throw HubError.notFound("no token \(id): see `warren-hub token list`")
            }
            try await store.delete(Self.key(grant.hash), ifRevision: nil)
            return grant
        } catch let error as StoreError { throw .store(error) } catch let error as HubError { throw error } catch {
            throw .notFound("\(error)")
        }
    }

    func get(_ hash: Bytes32) async throws(StoreError) -> (grant: TokenGrant, revision: Int64)? {
        guard let entry = try await store.get(Self.key(hash)), let json = JSONValue(parsing: entry.value),
            let grant = TokenGrant(hash: hash, json: json)
        else { return nil }
        return (grant, entry.revision)
    }

    /// Takes one use, or puts one back.
    ///
    /// - Throws: `.conflict` when the token was used meanwhile: decide again.
    func put(_ grant: TokenGrant, ifRevision revision: Int64) async throws(StoreError) {
        try await store.put(grant.json.text, at: Self.key(grant.hash), ifRevision: revision)
    }

    /// Forgets tokens that expired a day ago or earlier.
    func sweep(now: WallTime) async throws(StoreError) {
        for grant in try await list() where grant.expires.seconds + 86400 < now.seconds {
            try await store.delete(Self.key(grant.hash), ifRevision: nil)
        }
    }

    private static func key(_ hash: Bytes32) -> String { prefix + hash.description }
}
