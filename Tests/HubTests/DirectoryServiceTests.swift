import Addressing
import Directory
import Membership
import NIOCore
import Sodium
import Testing
import Timing

@testable import Hub

/// The directory and its client over TLS on loopback.
@Suite(.timeLimit(.minutes(2))) struct DirectoryServiceTests {
    @Test func `a published record is found by address, name and id`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, secret, name: "two", address: 2) { two in
                        #expect(try await two.client.lookup(.name("one")) == nil)
                        try await one.client.publish(TestHub.announcement(one.identity, 1))
                        for key in [.name("one"), .address(TestHub.address(1)), .id(one.identity.id)]
                            as [Message.LookupKey]
                        {
                            let record = try await two.client.lookup(key)
                            #expect(record?.id == one.identity.id)
                            #expect(record?.keys == [one.identity.publicKey])
                        }
                        #expect(try await two.client.lookup(.address(TestHub.address(9))) == nil)
                    }
                }
            }
        }
    }

    @Test func `a withdrawn record is found no more, is no news to who knows it, and can be published again`()
        async throws
    {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, secret, name: "two", address: 2) { two in
                        // Nothing was published yet: no harm.
                        try await one.client.withdraw()
                        try await one.client.publish(TestHub.announcement(one.identity, 5))
                        #expect(try await two.client.lookup(.name("one"))?.id == one.identity.id)
                        try await one.client.withdraw()
                        for key in [.name("one"), .address(TestHub.address(1)), .id(one.identity.id)]
                            as [Message.LookupKey]
                        {
                            #expect(try await two.client.lookup(key) == nil)
                        }
                        try await one.client.publish(TestHub.announcement(one.identity, 6))
                        #expect(try await two.client.lookup(.name("one"))?.announcement.sequence == 6)
                        let updates = await two.events.events.filter { if case .update = $0 { true } else { false } }
                        #expect(
                            updates.allSatisfy {
                                if case .update(let record) = $0 { record.announcement.sequence == 6 } else { false }
                            })
                    }
                }
            }
        }
    }

    @Test func `a newer announcement is pushed to who asked before, and to nobody else`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, secret, name: "two", address: 2) { two in
                        try await TestAgent.with(hub, port, secret, name: "three", address: 3) { three in
                            try await one.client.publish(TestHub.announcement(one.identity, 1))
                            _ = try await two.client.lookup(.name("one"))
                            try await one.client.publish(TestHub.announcement(one.identity, 5))
                            try await two.events.wait {
                                if case .update(let record) = $0 { record.announcement.sequence == 5 } else { false }
                            }
                            await two.client.forget(one.identity.id)
                            // Answers come in order, so that the hub has forgotten when this one is here.
                            _ = try await two.client.lookup(.name("nobody"))
                            try await one.client.publish(TestHub.announcement(one.identity, 6))
                            _ = try await three.client.lookup(.name("one"))
                            try await one.client.publish(TestHub.announcement(one.identity, 7))
                            try await three.events.wait { if case .update = $0 { true } else { false } }
                            let updates = await two.events.events.filter {
                                if case .update = $0 { true } else { false }
                            }
                            #expect(updates.count == 1)
                        }
                    }
                }
            }
        }
    }

    @Test func `a lower or another announcement under the same number is stale`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    let announcement = try TestHub.announcement(one.identity, 5)
                    try await one.client.publish(announcement)
                    try await one.client.publish(announcement)
                    await #expect(throws: DirectoryError.staleSequence(known: 5)) {
                        try await one.client.publish(TestHub.announcement(one.identity, 4))
                    }
                    let now = WallTime.now()
                    let other = try Announcement(
                        identity: one.identity, sequence: 5, expires: WallTime(seconds: now.seconds + 60),
                        keys: [.init(key: one.identity.publicKey, notBefore: now, expires: now)], relays: [])
                    await #expect(throws: DirectoryError.staleSequence(known: 5)) {
                        try await one.client.publish(other)
                    }
                    let foreign = try TestHub.announcement(TestHub.identity(), 9)
                    let error = await #expect(throws: DirectoryError.self) { try await one.client.publish(foreign) }
                    #expect(error?.code == .invalidRecord)
                }
            }
        }
    }

    @Test func `a signal arrives with its true sender, or comes back as undeliverable`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, secret, name: "two", address: 2) { two in
                        let payload = [UInt8](repeating: 7, count: 1200)
                        try await one.client.signal(to: two.identity.id, payload)
                        try await two.events.wait { $0 == .signal(from: one.identity.id, payload: payload) }
                        let nobody = AgentID(high: 1, low: 1)
                        try await one.client.signal(to: nobody, [1])
                        try await one.events.wait { $0 == .undeliverable(nobody) }
                        await #expect(throws: DirectoryError.oversizedSignal(1201)) {
                            try await one.client.signal(to: two.identity.id, payload + [1])
                        }
                    }
                }
            }
        }
    }

    @Test func `a renewed credential is taken up and shown`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, secret, name: "two", address: 2) { two in
                        try await one.client.publish(TestHub.announcement(one.identity, 1))
                        _ = try await two.client.lookup(.name("one"))
                        let renewed = try await hub.authorityClient(port).renew(identity: one.identity)
                        try await one.client.use(renewed.credential)
                        try await one.client.publish(TestHub.announcement(one.identity, 2))
                        try await two.events.wait {
                            if case .update(let record) = $0 { record.credential == renewed.credential } else { false }
                        }
                    }
                }
            }
        }
    }

    @Test func `after a restart of the hub, clients return, publish and subscribe again`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            let restart = Restart()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let port = try await hub.serving { port in
                        await restart.serve(port)
                        await restart.waitForStop()
                        return port
                    }
                    // All records are lost, as with a directory that keeps none.
                    let store = try hub.folder.openStore()
                    for entry in try await store.list("directory/").entries {
                        try await store.delete(entry.key, ifRevision: nil)
                    }
                    try await hub.serving(port: port) { _ in try await Task.sleep(nanoseconds: 60_000_000_000) }
                }
                let port = await restart.port()
                try await TestAgent.with(hub, port, secret, name: "one", address: 1) { one in
                    try await TestAgent.with(hub, port, secret, name: "two", address: 2) { two in
                        try await one.client.publish(TestHub.announcement(one.identity, 1))
                        _ = try await two.client.lookup(.name("one"))
                        await restart.stop()
                        for agent in [one, two] {
                            try await agent.events.wait { if case .disconnected = $0 { true } else { false } }
                        }
                        for agent in [one, two] {
                            try await agent.events.wait(count: 2) { if case .connected = $0 { true } else { false } }
                        }
                        #expect(try await two.client.lookup(.name("one"))?.announcement.sequence == 1)
                        try await one.client.publish(TestHub.announcement(one.identity, 2))
                        try await two.events.wait {
                            if case .update(let record) = $0 { record.announcement.sequence == 2 } else { false }
                        }
                    }
                }
                group.cancelAll()
                while let result = await group.nextResult() { _ = result }
            }
        }
    }

    @Test func `an unauthenticated connection is told nothing`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let link = try HubLink(to: HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin)
                let connection = try await link.connect()
                try await connection.executeThenClose { inbound, outbound in
                    var messages = inbound.makeAsyncIterator()
                    guard case .hello = try await messages.next() else { return #expect(Bool(false), "no hello") }
                    try await outbound.write(.lookup(request: 1, .name("one")))
                    guard case .error(1, .notAuthenticated, _) = try await messages.next() else {
                        return #expect(Bool(false), "lookup answered")
                    }
                    try await outbound.write(.publish(request: 2, announcement: "a.b.c"))
                    guard case .error(2, .notAuthenticated, _) = try await messages.next() else {
                        return #expect(Bool(false), "publish answered")
                    }
                    // What only a server sends ends the connection.
                    try await outbound.write(.authenticated(request: 3))
                    #expect(try await messages.next() == nil)
                }
            }
        }
    }

    @Test func `a credential without its key, and one of another authority, authenticate nobody`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                let identity = try TestHub.identity()
                let admission = try await hub.join(port, secret, identity, name: "one", [TestHub.address(1)])
                func code(_ credential: String, _ signer: Identity) async throws -> ErrorCode? {
                    let link = try HubLink(to: HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin)
                    return try await link.connect().executeThenClose { inbound, outbound in
                        var messages = inbound.makeAsyncIterator()
                        guard case .hello(let nonce, _, _) = try await messages.next() else { return nil }
                        let proof = Proof.message(
                            .authenticate, nonce: nonce, pin: hub.folder.pin,
                            request: Blake2b.hash(Array(credential.utf8)))
                        try await outbound.write(
                            .authenticate(request: 1, credential: credential, signature: signer.sign(proof)))
                        guard case .error(1, let code, _) = try await messages.next() else { return nil }
                        return code
                    }
                }
                let thief = try TestHub.identity()
                #expect(try await code(admission.credential.text, thief) == .invalidProof)
                #expect(try await code(admission.credential.text, identity) == nil)
                let rogue = Authority(mesh: "demo", ranges: [TestHub.range], key: try Ed25519.PrivateKey())
                var random = SystemRandomNumberGenerator()
                let forged = try rogue.issue(
                    name: "one", addresses: [TestHub.address(1)], identityKey: thief.publicKey, now: .now(),
                    using: &random)
                #expect(try await code(forged.text, thief) == .invalidRecord)
            }
        }
    }
}

/// Tells a test's server when to stop.
private actor Restart {
    private var servedPort: UInt16?
    private var isStopped = false

    func serve(_ port: UInt16) { servedPort = port }
    func stop() { isStopped = true }

    func port() async -> UInt16 {
        while servedPort == nil { try? await Task.sleep(nanoseconds: 5_000_000) }
        return servedPort ?? 0
    }

    func waitForStop() async { while !isStopped { try? await Task.sleep(nanoseconds: 5_000_000) } }
}
