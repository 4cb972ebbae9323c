import Addressing
import Directory
import Membership
import Sodium
import Testing
import Timing

@testable import Hub

/// Pods and nodes that come in by their service accounts, over TLS on loopback; the cluster is a test's.
@Suite(.timeLimit(.minutes(2))) struct AccountJoinTests {
    private struct Scene: Sendable {
        let hub: TestHub
        let port: UInt16
        let cluster: TestReviewer

        func join(_ uid: String, _ identity: Identity, _ addresses: [IPAddress]) async throws(DirectoryError)
            -> Credential
        {
            try await client().join(account: Array(uid.utf8), identity: identity, addresses: addresses).credential
        }

        /// Why not; nil when it has joined.
        func refusal(_ uid: String, _ identity: Identity, _ addresses: [IPAddress]) async -> DirectoryError? {
            do throws(DirectoryError) {
                _ = try await join(uid, identity, addresses)
                return nil
            } catch { return error }
        }

        func lease(_ uid: String, _ identity: Identity) async throws(DirectoryError) -> AuthorityClient.Leased {
            try await client().lease(account: Array(uid.utf8), identity: identity)
        }

        func client() throws(DirectoryError) -> AuthorityClient {
            do { return try hub.authorityClient(port) } catch { throw .protocolViolation("\(error)") }
        }
    }

    /// A cluster with two nodes that have leased their blocks, 1 and 2.
    private static func with(
        now: @escaping @Sendable () -> WallTime = { .now() }, _ body: @escaping @Sendable (Scene) async throws -> Void
    ) async throws {
        try await TestHub.with { hub in
            let cluster = TestReviewer()
            let accounts = AccountOptions(reviewer: cluster, nodeAccounts: ["warren-system:warren-node"])
            try await hub.serving(changing: {
                $0.accounts = accounts
                $0.now = now
            }) { port in
                let scene = Scene(hub: hub, port: port, cluster: cluster)
                for number in 1...2 {
                    cluster.set(
                        "warren-system/agent-\(number)",
                        .init(uid: "agent-\(number)", node: "node-\(number)", account: "warren-node"))
                    let leased = try await scene.lease("agent-\(number)", TestHub.identity())
                    #expect(leased.block.number == UInt16(number))
                }
                try await body(scene)
            }
        }
    }

    private static func address(_ number: UInt64, node: UInt64 = 1) -> IPAddress {
        .v6(IPv6Address(high: 0xfd12_3456_789a_0000 + node, low: number))
    }

    @Test func `a pod is named by its token, and its subject says all of it`() async throws {
        try await Self.with { scene in
            scene.cluster.set("shop/cart-0", .init(uid: "u-1", node: "node-1", account: "cart"))
            let identity = try TestHub.identity()
            let credential = try await scene.join("u-1", identity, [Self.address(1)])
            #expect(credential.name == "cart-0.shop")
            #expect(credential.subject == "spiffe://demo/cluster/eu-1/ns/shop/sa/cart/pod/cart-0")
            #expect(credential.identityKey == identity.publicKey)
            // Again, as it renews: the same, for longer.
            let renewed = try await scene.join("u-1", identity, [Self.address(1)])
            #expect(renewed.name == credential.name && renewed.serial != credential.serial)
            #expect(await scene.refusal("junk", identity, [Self.address(1)])?.code == .wrongAccount)
        }
    }

    @Test func `an address outside the node's block is refused`() async throws {
        try await Self.with { scene in
            scene.cluster.set("shop/cart-0", .init(uid: "u-1", node: "node-1"))
            let identity = try TestHub.identity()
            #expect(
                await scene.refusal("u-1", identity, [Self.address(1, node: 2)])?.code == .addressNotAllowed)
            #expect(
                await scene.refusal("u-1", identity, [Self.address(1), Self.address(1, node: 2)])?.code
                    == .addressNotAllowed)
            #expect(
                await scene.refusal("u-1", identity, []) == .refused(.addressNotAllowed, Refusal.noAddress.description))
            // A node without a block may get one yet.
            scene.cluster.set("shop/far", .init(uid: "u-2", node: "node-3"))
            guard case .later = await scene.refusal("u-2", identity, [Self.address(1, node: 3)]) else {
                Issue.record("a node that has leased nothing")
                return
            }
        }
    }

    @Test func `a replaced pod has its name at once, and its predecessor is nobody`() async throws {
        try await Self.with { scene in
            scene.cluster.set("shop/db-0", .init(uid: "u-1", node: "node-1"))
            let (first, second) = (try TestHub.identity(), try TestHub.identity())
            _ = try await scene.join("u-1", first, [Self.address(1)])
            scene.cluster.set("shop/db-0", .init(uid: "u-2", node: "node-2"))
            #expect(await scene.refusal("u-1", first, [Self.address(1)])?.code == .wrongAccount)
            #expect(try await scene.join("u-2", second, [Self.address(1, node: 2)]).name == "db-0.shop")
            let leases = LeaseBook(store: try scene.hub.folder.openStore())
            #expect(try await leases.list().map(\.identityKey) == [second.publicKey], "never two")
            await #expect(throws: DirectoryError.refused(.notMember, Refusal.notMember.description)) {
                _ = try await scene.client().renew(identity: first)
            }
        }
    }

    @Test func `an address of a pod that is gone is free, that of one that runs is not`() async throws {
        try await Self.with { scene in
            scene.cluster.set("shop/a", .init(uid: "u-a", node: "node-1"))
            scene.cluster.set("shop/b", .init(uid: "u-b", node: "node-1"))
            let (a, b) = (try TestHub.identity(), try TestHub.identity())
            _ = try await scene.join("u-a", a, [Self.address(1)])
            guard case .later = await scene.refusal("u-b", b, [Self.address(1)]) else {
                Issue.record("a's address is a's")
                return
            }
            scene.cluster.set("shop/a", nil)
            #expect(try await scene.join("u-b", b, [Self.address(1)]).addresses == [Self.address(1)])
        }
    }

    @Test func `two pods that exchange addresses when their node starts again both come back`() async throws {
        try await Self.with { scene in
            scene.cluster.set("shop/a", .init(uid: "u-a", node: "node-1"))
            scene.cluster.set("shop/b", .init(uid: "u-b", node: "node-1"))
            _ = try await scene.join("u-a", TestHub.identity(), [Self.address(1)])
            _ = try await scene.join("u-b", TestHub.identity(), [Self.address(2)])
            // Their memory is lost with the node's, keys and addresses.
            let (a, b) = (try TestHub.identity(), try TestHub.identity())
            guard case .later = await scene.refusal("u-a", a, [Self.address(2)]) else {
                Issue.record("b is still thought to have it")
                return
            }
            #expect(try await scene.join("u-b", b, [Self.address(1)]).name == "b.shop")
            #expect(try await scene.join("u-a", a, [Self.address(2)]).name == "a.shop")
        }
    }

    @Test func `a name that a join token's agent has is not a pod's to take, nor the other way round`() async throws {
        try await Self.with { scene in
            let secret = try await scene.hub.token()
            let agent = try TestHub.identity()
            _ = try await scene.hub.join(scene.port, secret, agent, name: "web.shop", [Self.address(9)])
            scene.cluster.set("shop/web", .init(uid: "u-1", node: "node-1"))
            scene.cluster.set("shop/web2", .init(uid: "u-2", node: "node-1"))
            #expect(await scene.refusal("u-1", try TestHub.identity(), [Self.address(1)])?.code == .nameTaken)
            _ = try await scene.join("u-2", TestHub.identity(), [Self.address(2)])
            let error = await #expect(throws: DirectoryError.self) {
                _ = try await scene.hub.join(
                    scene.port, secret, TestHub.identity(), name: "web2.shop", [Self.address(3)])
            }
            #expect(error?.code == .nameTaken)
        }
    }

    @Test func `while the cluster is away nobody new comes in, and who has joined is not troubled`() async throws {
        let start = WallTime.now()
        let shift = TestClock(start)
        try await Self.with(now: { shift.now }) { scene in
            scene.cluster.set("shop/a", .init(uid: "u-a", node: "node-1"))
            let identity = try TestHub.identity()
            let credential = try await scene.join("u-a", identity, [Self.address(1)])
            scene.cluster.setAway(true)
            #expect(await scene.refusal("u-a", identity, [Self.address(1)]) == .later(seconds: 7, "away"))
            // Its key gets back what it had, and not a second more.
            shift.now = WallTime(seconds: start.seconds + 3600)
            let client = try AuthorityClient(
                address: HubAddress(host: "127.0.0.1", port: scene.port)!, pin: scene.hub.folder.pin,
                verifier: scene.hub.verifier, now: { shift.now })
            let again = try await client.renew(identity: identity).credential
            #expect(again.expires == credential.expires && again.pod == credential.pod)
            #expect(again.issued.seconds == start.seconds + 3600)
            // By its token, when that can be asked about again, it has a whole life.
            scene.cluster.setAway(false)
            let renewed = try await client.join(
                account: Array("u-a".utf8), identity: identity, addresses: [Self.address(1)]
            ).credential
            #expect(renewed.expires.seconds == start.seconds + 3600 + Credential.lifetime)
            shift.now = renewed.expires
            await #expect(throws: DirectoryError.refused(.notMember, Refusal.notMember.description)) {
                _ = try await client.renew(identity: identity)
            }
        }
    }

    @Test func `only the nodes' service account leases blocks, one a node`() async throws {
        try await Self.with { scene in
            scene.cluster.set("shop/web", .init(uid: "u-1", node: "node-3"))
            scene.cluster.set("shop/fake", .init(uid: "u-2", node: "node-3", account: "warren-node"))
            for uid in ["u-1", "u-2"] {
                let error = await #expect(throws: DirectoryError.self) {
                    _ = try await scene.lease(uid, TestHub.identity())
                }
                #expect(error?.code == .wrongKind)
            }
            // After a restart without memory the node is the same by its name.
            let again = try await scene.lease("agent-2", TestHub.identity())
            #expect(again.block.number == 2)
            let nodes = try await NodeBook(store: scene.hub.folder.openStore()).list()
            #expect(nodes.map(\.name).sorted() == ["node-1", "node-2"])
            // An agent of nodes may join as a pod, too: it is one.
            #expect(
                try await scene.join("agent-1", TestHub.identity(), [Self.address(5)]).name == "agent-1.warren-system")
        }
    }

    @Test func `without its option a hub knows no service accounts, and nobody is asked`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let client = try hub.authorityClient(port)
                for isNode in [false, true] {
                    let error = await #expect(throws: DirectoryError.self) {
                        if isNode {
                            _ = try await client.lease(account: Array("t".utf8), identity: TestHub.identity())
                        } else {
                            _ = try await client.join(
                                account: Array("t".utf8), identity: TestHub.identity(), addresses: [Self.address(1)])
                        }
                    }
                    #expect(error?.code == .notServed)
                }
            }
        }
    }

    @Test func `a signature that is not the key's is refused before the cluster is asked`() async throws {
        try await Self.with { scene in
            let before = scene.cluster.asked
            let (key, other) = (try TestHub.identity(), try TestHub.identity())
            let forged = Identity.Forged(key: key.publicKey, signer: other)
            let service = AuthorityService(
                authority: Authority(
                    mesh: "demo", ranges: [TestHub.range], key: try scene.hub.folder.loadAuthorityKey()),
                info: try scene.hub.folder.meshInfo(), pin: scene.hub.folder.pin,
                store: try scene.hub.folder.openStore(),
                accounts: .init(reviewer: scene.cluster, nodeAccounts: []), logger: TestHub.quiet, now: { .now() })
            let nonce = Bytes32([UInt8](repeating: 4, count: 32))!
            for purpose in [Proof.Purpose.accountJoin, .accountLease, .join] {
                let proof = forged.proof([Self.address(1)], purpose, nonce, scene.hub.folder.pin)
                let answer = await service.answer(.accountJoin(request: 3, proof), nonce: nonce)
                guard case .error(3, .invalidProof, _) = answer else {
                    Issue.record("\(String(describing: answer))")
                    return
                }
            }
            #expect(scene.cluster.asked == before)
        }
    }

    @Test func `a thousand pods that start at once all come in`() async throws {
        try await Self.with { scene in
            for number in 0..<1000 {
                scene.cluster.set("shop/p-\(number)", .init(uid: "u-\(number)", node: "node-1"))
            }
            let service = AuthorityService(
                authority: Authority(
                    mesh: "demo", ranges: [TestHub.range], key: try scene.hub.folder.loadAuthorityKey()),
                info: try scene.hub.folder.meshInfo(), pin: scene.hub.folder.pin,
                store: try scene.hub.folder.openStore(),
                accounts: .init(reviewer: scene.cluster, nodeAccounts: []), logger: TestHub.quiet, now: { .now() })
            let nonce = Bytes32([UInt8](repeating: 4, count: 32))!
            let pin = scene.hub.folder.pin
            let names = await withTaskGroup(of: String?.self) { group in
                for number in 0..<1000 {
                    group.addTask {
                        guard let identity = try? TestHub.identity() else { return nil }
                        let addresses = [Self.address(UInt64(number + 1))]
                        let token = Array("u-\(number)".utf8)
                        let request = AccountRequest(
                            identityKey: identity.publicKey, addresses: addresses, token: token)
                        let proof = Message.AccountProof(
                            token: token, identityKey: identity.publicKey, addresses: addresses,
                            signature: identity.sign(request.proof(.accountJoin, nonce: nonce, pin: pin)))
                        guard
                            case .joined(_, let text, _) = await service.answer(
                                .accountJoin(request: 1, proof), nonce: nonce)
                        else { return nil }
                        return text
                    }
                }
                return await group.reduce(into: Set<String>()) { if let name = $1 { $0.insert(name) } }
            }
            #expect(names.count == 1000)
        }
    }
}

extension Identity {
    /// One key's request, signed by another.
    fileprivate struct Forged {
        let key: Ed25519.PublicKey
        let signer: Identity

        func proof(
            _ addresses: [IPAddress], _ purpose: Proof.Purpose, _ nonce: Bytes32, _ pin: Bytes32
        ) -> Message.AccountProof {
            let token = Array("u-1".utf8)
            let request = AccountRequest(identityKey: key, addresses: addresses, token: token)
            return Message.AccountProof(
                token: token, identityKey: key, addresses: addresses,
                signature: signer.sign(request.proof(purpose, nonce: nonce, pin: pin)))
        }
    }
}
