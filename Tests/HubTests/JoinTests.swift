import Addressing
import Directory
import Membership
import Sodium
import Testing
import Timing

@testable import Hub

/// Joining, renewing and leaving over TLS on loopback.
@Suite(.timeLimit(.minutes(2))) struct JoinTests {
    @Test func `a token gives a verified credential and the mesh`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token(pattern: "agent-*")
            let relayID = try hub.folder.relayID()
            try await hub.serving { port in
                let identity = try TestHub.identity()
                let admission = try await hub.join(port, secret, identity, name: "agent-1", [TestHub.address(1)])
                #expect(admission.credential.name == "agent-1")
                #expect(admission.credential.addresses == [TestHub.address(1)])
                #expect(admission.credential.identityKey == identity.publicKey)
                #expect(admission.mesh.directoryPin == hub.folder.pin)
                #expect(admission.mesh.ranges == [TestHub.range])
                #expect(
                    admission.mesh.relays == [
                        .init(
                            id: relayID, endpoints: [Endpoint("192.0.2.9:3478")!],
                            streams: [.init(address: HubAddress("127.0.0.1:7443")!, pin: hub.folder.pin)])
                    ])
                #expect(admission.mesh.stun == [Endpoint("192.0.2.9:3478")!])
                #expect(abs(admission.hubTime.seconds - WallTime.now().seconds) < 5)
            }
        }
    }

    @Test func `each bound of a token is kept`() async throws {
        try await TestHub.with { hub in
            let range = IPPrefix("fd12:3456:789a:1::/64")!
            let bounded = try await hub.token(pattern: "agent-*", ranges: [range], uses: 1)
            let expired = try await hub.token(lifetime: -1)
            try await hub.serving { port in
                let identity = try TestHub.identity()
                func refusal(_ secret: [UInt8], _ name: String, _ address: IPAddress) async -> ErrorCode? {
                    do throws(DirectoryError) {
                        _ = try await hub.join(port, secret, identity, name: name, [address])
                        return nil
                    } catch { return error.code }
                }
                let good = TestHub.address(1)
                #expect(await refusal([UInt8](repeating: 1, count: 32), "agent-1", good) == .wrongToken)
                #expect(await refusal(expired, "agent-1", good) == .expiredToken)
                #expect(await refusal(bounded, "db-1", good) == .nameNotAllowed)
                #expect(await refusal(bounded, "agent-1", IPAddress("fd12:3456:789a:2::1")!) == .addressNotAllowed)
                // None of these has used the token up.
                #expect(await refusal(bounded, "agent-1", good) == nil)
                #expect(await refusal(bounded, "agent-1", good) == nil)
                let other = try TestHub.identity()
                await #expect(throws: DirectoryError.refused(.usedUpToken, Refusal.usedUpToken.description)) {
                    _ = try await hub.join(port, bounded, other, name: "agent-2", [TestHub.address(2)])
                }
            }
        }
    }

    @Test func `a token that is made while the hub serves works, until it is revoked`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let secret = try await hub.token()
                _ = try await hub.join(port, secret, TestHub.identity(), name: "a", [TestHub.address(1)])
                let book = TokenBook(store: try hub.folder.openStore())
                let id = String(JoinToken.hash(ofSecret: secret).description.prefix(12))
                _ = try await book.revoke(id)
                await #expect(throws: HubError.notFound("no token \(id): see `warren-hub token list`")) {
                    _ = try await book.revoke(id)
                }
                let error = await #expect(throws: DirectoryError.self) {
                    _ = try await hub.join(port, secret, TestHub.identity(), name: "b", [TestHub.address(2)])
                }
                #expect(error?.code == .wrongToken)
            }
        }
    }

    @Test func `a name and an address are taken until their holder leaves or is released`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                let (first, second) = (try TestHub.identity(), try TestHub.identity())
                func code(_ identity: Identity, _ name: String, _ address: UInt64) async -> ErrorCode? {
                    do throws(DirectoryError) {
                        _ = try await hub.join(port, secret, identity, name: name, [TestHub.address(address)])
                        return nil
                    } catch { return error.code }
                }
                #expect(await code(first, "one", 1) == nil)
                #expect(await code(second, "one", 2) == .nameTaken)
                #expect(await code(second, "two", 1) == .addressTaken)
                #expect(await code(second, "two", 2) == nil)

                try await hub.authorityClient(port).leave(identity: first)
                #expect(await code(second, "one", 1) == nil)
                // What the second held before is free now.
                #expect(await code(first, "two", 2) == nil)

                let leases = LeaseBook(store: try hub.folder.openStore())
                #expect(try await leases.release("one")?.identityKey == second.publicKey)
                #expect(try await leases.release("one") == nil)
                #expect(try await leases.release(TestHub.address(2).description)?.name == "two")
                let third = try TestHub.identity()
                #expect(await code(third, "two", 1) == nil)
                let error = await #expect(throws: DirectoryError.self) {
                    _ = try await hub.authorityClient(port).renew(identity: second)
                }
                #expect(error?.code == .notMember)
            }
        }
    }

    @Test func `an expired credential frees what it held`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token(lifetime: 10 * 86400)
            let (first, second) = (try TestHub.identity(), try TestHub.identity())
            try await hub.serving { port in
                _ = try await hub.join(port, secret, first, name: "one", [TestHub.address(1)])
            }
            let later = WallTime(seconds: WallTime.now().seconds + 86400 + 120)
            try await hub.serving(changing: { $0.now = { later } }) { port in
                let client = try AuthorityClient(
                    address: HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin, verifier: hub.verifier,
                    now: { later })
                let key = try SecretKey(copying: secret)
                let admission = try await client.join(
                    secret: key, identity: second, name: "one", addresses: [TestHub.address(1)])
                #expect(admission.credential.identityKey == second.publicKey)
            }
        }
    }

    @Test func `a renewal keeps name and addresses, and needs no token`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token(uses: 1)
            try await hub.serving { port in
                let identity = try TestHub.identity()
                let first = try await hub.join(port, secret, identity, name: "one", [TestHub.address(1)])
                let second = try await hub.authorityClient(port).renew(identity: identity)
                #expect(second.credential.name == "one")
                #expect(second.credential.addresses == first.credential.addresses)
                #expect(second.credential.serial != first.credential.serial)
                let stranger = await #expect(throws: DirectoryError.self) {
                    _ = try await hub.authorityClient(port).renew(identity: TestHub.identity())
                }
                #expect(stranger?.code == .notMember)
            }
        }
    }

    @Test func `many agents that want one name at once: one gets it`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                let wins = await withTaskGroup(of: Bool.self) { group in
                    for number in 1...12 as ClosedRange<UInt64> {
                        group.addTask {
                            let admission = try? await hub.join(
                                port, secret, TestHub.identity(), name: "one", [TestHub.address(number)])
                            return admission != nil
                        }
                    }
                    return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
                }
                #expect(wins == 1)
            }
        }
    }

    @Test func `a server with another key than the pinned one is refused`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let wrong = Bytes32([UInt8](repeating: 1, count: 32))!
                await #expect(throws: DirectoryError.wrongPin(HubAddress(host: "127.0.0.1", port: port)!)) {
                    try await hub.authorityClient(port, pin: wrong).leave(identity: TestHub.identity())
                }
            }
        }
    }

    @Test func `a hub that is not there is unreachable, with what to do`() async throws {
        try await TestHub.with { hub in
            let error = await #expect(throws: DirectoryError.self) {
                try await hub.authorityClient(1).leave(identity: TestHub.identity())
            }
            #expect(error?.description.contains("hub 127.0.0.1:1 is unreachable") == true)
            let unknown = try AuthorityClient(
                address: HubAddress("no-such-host.invalid:1")!, pin: hub.folder.pin, verifier: hub.verifier)
            let noName = await #expect(throws: DirectoryError.self) {
                try await unknown.leave(identity: TestHub.identity())
            }
            guard case .unreachable = noName else { return #expect(Bool(false), "\(String(describing: noName))") }
        }
    }

    @Test func `an authority that runs alone serves no directory`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving(roles: [.authority]) { port in
                let identity = try TestHub.identity()
                let admission = try await hub.join(port, secret, identity, name: "one", [TestHub.address(1)])
                let client = DirectoryClient(
                    address: HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin, verifier: hub.verifier,
                    identity: identity, credential: admission.credential, logger: TestHub.quiet)
                let running = Task { await client.run() }
                defer { running.cancel() }
                for await event in client.events {
                    guard case .disconnected(let error) = event else { continue }
                    #expect(error.code == .notServed)
                    break
                }
            }
        }
    }
}
