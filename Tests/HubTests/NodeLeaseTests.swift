import Addressing
import Directory
import Membership
import Sodium
import Testing
import Timing

@testable import Hub

/// Nodes that lease address blocks, over TLS on loopback.
@Suite(.timeLimit(.minutes(2))) struct NodeLeaseTests {
    private static func nodeToken(_ hub: TestHub, pattern: String = "*", uses: UInt64 = 1000) async throws -> [UInt8] {
        let secret = try await TokenBook(store: hub.folder.openStore()).create(
            kind: .node, pattern: NamePattern(pattern)!, ranges: [], uses: uses,
            expires: WallTime(seconds: WallTime.now().seconds + 3600))
        return secret.exportBytes()
    }

    private static func lease(
        _ hub: TestHub, _ port: UInt16, _ secret: [UInt8]?, _ identity: Identity, _ name: String
    ) async throws(DirectoryError) -> AuthorityClient.Leased {
        let client: AuthorityClient
        do { client = try hub.authorityClient(port) } catch { throw .protocolViolation("\(error)") }
        guard let secret else { return try await client.renewLease(identity: identity, name: name) }
        let key: SecretKey
        do { key = try SecretKey(copying: secret) } catch { throw .protocolViolation("\(error)") }
        return try await client.lease(secret: key, identity: identity, name: name)
    }

    @Test func `each node has its own block, and keeps it without the token`() async throws {
        try await TestHub.with { hub in
            let secret = try await Self.nodeToken(hub, uses: 2)
            try await hub.serving { port in
                let (one, two) = (try TestHub.identity(), try TestHub.identity())
                let first = try await Self.lease(hub, port, secret, one, "node-1")
                let second = try await Self.lease(hub, port, secret, two, "node-2")
                #expect(first.block.number == 1 && second.block.number == 2)
                #expect(first.block.ipv6 == IPPrefix("fd12:3456:789a:1::/64"))
                let again = try await Self.lease(hub, port, nil, one, "node-1")
                #expect(again.block == first.block)
                #expect(again.expires.seconds >= WallTime.now().seconds + NodeLease.lifetime - 60)
                let error = await #expect(throws: DirectoryError.self) {
                    _ = try await Self.lease(hub, port, secret, TestHub.identity(), "node-3")
                }
                #expect(error?.code == .usedUpToken)
            }
        }
    }

    @Test func `twenty nodes at once get twenty blocks`() async throws {
        try await TestHub.with { hub in
            let secret = try await Self.nodeToken(hub)
            try await hub.serving { port in
                let numbers = try await withThrowingTaskGroup(of: UInt16.self) { group in
                    for node in 0..<20 {
                        group.addTask {
                            try await Self.lease(hub, port, secret, TestHub.identity(), "node-\(node)").block.number
                        }
                    }
                    return try await group.reduce(into: Set<UInt16>()) { $0.insert($1) }
                }
                #expect(numbers == Set(1...20))
            }
        }
    }

    @Test func `tokens of agents and of nodes are not each other's`() async throws {
        try await TestHub.with { hub in
            let node = try await Self.nodeToken(hub, pattern: "node-*")
            let agent = try await hub.token()
            try await hub.serving { port in
                let identity = try TestHub.identity()
                func refusal(_ secret: [UInt8]?, _ name: String) async -> ErrorCode? {
                    do throws(DirectoryError) {
                        _ = try await Self.lease(hub, port, secret, identity, name)
                        return nil
                    } catch { return error.code }
                }
                #expect(await refusal(agent, "node-1") == .wrongKind)
                #expect(await refusal(nil, "node-1") == .wrongToken)
                #expect(await refusal(node, "db-1") == .nameNotAllowed)
                #expect(await refusal(node, "Node") == .nameNotAllowed)
                let error = await #expect(throws: DirectoryError.self) {
                    _ = try await hub.join(port, node, identity, name: "node-1", [TestHub.address(1)])
                }
                #expect(error?.code == .wrongKind)
                #expect(await refusal(node, "node-1") == nil)
                let other = await #expect(throws: DirectoryError.self) {
                    _ = try await Self.lease(hub, port, node, TestHub.identity(), "node-1")
                }
                #expect(other?.code == .nameTaken)
                let book = NodeBook(store: try hub.folder.openStore())
                #expect(try await book.release("node-1")?.number == 1)
                #expect(try await book.release("node-1") == nil)
                let next = try await Self.lease(hub, port, node, TestHub.identity(), "node-1")
                #expect(next.block.number == 1)
            }
        }
    }
}
