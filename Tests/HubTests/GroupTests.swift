import Addressing
import Directory
import Membership
import NIOCore
import Sodium
import Testing
import Timing

@testable import Hub

/// Groups, from the token to a lookup, over TLS on loopback.
@Suite(.timeLimit(.minutes(2))) struct GroupTests {
    private static let web = GroupName("web.shop")!

    private static func token(_ hub: TestHub, _ groups: [GroupName]) async throws -> [UInt8] {
        try await TokenBook(store: hub.folder.openStore()).create(
            pattern: .any, ranges: [], groups: groups, uses: 100,
            expires: WallTime(seconds: WallTime.now().seconds + 3600)
        ).exportBytes()
    }

    @Test func `a token's groups are in the credentials that it gives, and its agents are found by them`() async throws
    {
        try await TestHub.with { hub in
            let secret = try await Self.token(hub, [Self.web])
            let other = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, other, name: "two", address: 2) { two in
                        #expect(one.admission.credential.groups == [Self.web])
                        #expect(two.admission.credential.groups.isEmpty)
                        #expect(try await two.client.members(of: Self.web).isEmpty)
                        for agent in [one, two] {
                            try await agent.client.publish(TestHub.announcement(agent.identity, 1))
                        }
                        #expect(try await two.client.members(of: Self.web).map(\.id) == [one.identity.id])
                        #expect(try await two.client.members(of: GroupName("web.other")!).isEmpty)
                        // A renewed credential has them too.
                        let renewed = try await hub.authorityClient(port).renew(identity: one.identity)
                        #expect(renewed.credential.groups == [Self.web])
                    }
                }
            }
        }
    }

    @Test func `of many members sixteen are named, not always the same`() async throws {
        try await TestHub.with { hub in
            let records = try RecordBook(store: hub.folder.openStore())
            let authority = Authority(mesh: "demo", ranges: [TestHub.range], key: try hub.folder.loadAuthorityKey())
            let now = WallTime.now()
            for number in 0..<40 as Range<UInt64> {
                let identity = try TestHub.identity()
                var random = SystemRandomNumberGenerator()
                let credential = try authority.issue(
                    name: "m-\(number)", addresses: [TestHub.address(number + 1)],
                    groups: number < 30 ? [Self.web] : [], identityKey: identity.publicKey, now: now, using: &random)
                _ = try await records.put(credential, TestHub.announcement(identity, 1), now: now)
            }
            var seen: Set<AgentID> = []
            for _ in 0..<20 {
                let members = try await records.members(of: Self.web, limit: 16, now: now)
                #expect(members.count == 16)
                seen.formUnion(members)
            }
            #expect(seen.count > 16 && seen.count <= 30)
            let id = try #require(seen.first)
            try await records.remove(id)
            let left = try await records.members(of: Self.web, limit: 64, now: now)
            #expect(left.count == 29 && !left.contains(id))
        }
    }
}
