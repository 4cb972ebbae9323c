import Addressing
import Directory
import Glibc
import Logging
import Membership
import NIOCore
import NIOPosix
import Sodium
import Testing
import Timing

@testable import Hub

/// A hub in a folder of its own under /tmp, on ports that the kernel chose; gone at the end of `with`.
struct TestHub: Sendable {
    static let range = IPPrefix("fd12:3456:789a::/48")!

    let folder: HubFolder
    let logger: Logger

    static func address(_ number: UInt64) -> IPAddress {
        .v6(IPv6Address(high: 0xfd12_3456_789a_0001, low: number))
    }

    static var quiet: Logger {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }

    static func temporaryFolder() -> String {
        "/tmp/warren-hub-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    }

    static func with(_ body: (TestHub) async throws -> Void) async throws {
        try Libsodium.initialize()
        let path = temporaryFolder()
        defer { remove(path) }
        let options = HubFolder.Options(
            mesh: "demo", ranges: [range], address: HubAddress("127.0.0.1:7443")!,
            relays: [.init("192.0.2.9:3478")!])
        try await body(TestHub(folder: try HubFolder.create(path, options).0, logger: quiet))
    }

    static func remove(_ path: String) {
        for name in [
            "hub.json", "hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm", "authority.key", "relay.key", "tls.key",
            "tls.crt",
        ] {
            _ = unsafe unlink("\(path)/\(name)")
        }
        _ = unsafe rmdir(path)
    }

    /// Serves while `body` runs, on `port` (0: any).
    func serving<Result: Sendable>(
        port: UInt16 = 0, roles: Set<HubServer.Role> = [.authority, .directory],
        changing change: (inout HubServer.Options) -> Void = { _ in },
        _ body: @escaping @Sendable (UInt16) async throws -> Result
    ) async throws -> Result {
        var options = HubServer.Options(
            roles: roles, listenHost: "127.0.0.1", listenPort: port, relayListen: Endpoint("127.0.0.1:0")!)
        change(&options)
        let server = try await HubServer(folder, options, logger: logger)
        return try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask {
                try await server.run()
                return nil
            }
            group.addTask { try await body(server.port) }
            defer { group.cancelAll() }
            while let result = try await group.next() { if let result { return result } }
            throw HubError.unhealthy("the server ended")
        }
    }

    var verifier: RecordVerifier {
        RecordVerifier(mesh: folder.configuration.mesh, authorityKey: folder.configuration.authorityKey)
    }

    func authorityClient(_ port: UInt16, pin: Bytes32? = nil) throws -> AuthorityClient {
        try AuthorityClient(
            address: HubAddress(host: "127.0.0.1", port: port)!, pin: pin ?? folder.pin, verifier: verifier)
    }

    /// The bytes of a fresh token's secret.
    func token(
        pattern: String = "*", ranges: [IPPrefix] = [], uses: UInt64 = 1000, lifetime: Int64 = 3600
    ) async throws -> [UInt8] {
        let secret = try await TokenBook(store: folder.openStore()).create(
            pattern: NamePattern(pattern)!, ranges: ranges, uses: uses,
            expires: WallTime(seconds: WallTime.now().seconds + lifetime))
        return secret.exportBytes()
    }

    func join(
        _ port: UInt16, _ secret: [UInt8], _ identity: Identity, name: String, _ addresses: [IPAddress]
    ) async throws(DirectoryError) -> AuthorityClient.Admission {
        let key: SecretKey
        do { key = try SecretKey(copying: secret) } catch { throw .protocolViolation("\(error)") }
        let client: AuthorityClient
        do { client = try authorityClient(port) } catch { throw .protocolViolation("\(error)") }
        return try await client.join(secret: key, identity: identity, name: name, addresses: addresses)
    }

    static func announcement(_ identity: Identity, _ sequence: UInt64) throws -> Announcement {
        let now = WallTime.now()
        let later = WallTime(seconds: now.seconds + 3600)
        return try Announcement(
            identity: identity, sequence: sequence, expires: later,
            keys: [.init(key: identity.publicKey, notBefore: now, expires: later)],
            relays: [.init(id: identity.id, endpoint: Endpoint("192.0.2.9:3478")!)])
    }

    static func identity() throws -> Identity { Identity(try Ed25519.PrivateKey()) }
}

/// An agent that has joined, with its directory client running.
struct TestAgent: Sendable {
    let identity: Identity
    let admission: AuthorityClient.Admission
    let client: DirectoryClient
    let events: EventLog

    /// Joins, connects and waits until the directory has accepted it.
    static func with<Result: Sendable>(
        _ hub: TestHub, _ port: UInt16, _ secret: [UInt8], name: String, address: UInt64,
        _ body: @escaping @Sendable (TestAgent) async throws -> Result
    ) async throws -> Result {
        let identity = try TestHub.identity()
        let admission = try await hub.join(port, secret, identity, name: name, [TestHub.address(address)])
        let client = DirectoryClient(
            address: HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin, verifier: hub.verifier,
            identity: identity, credential: admission.credential, logger: TestHub.quiet)
        let agent = TestAgent(identity: identity, admission: admission, client: client, events: EventLog())
        return try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask {
                await client.run()
                return nil
            }
            group.addTask {
                for await event in client.events { await agent.events.add(event) }
                return nil
            }
            group.addTask {
                try await agent.events.wait { if case .connected = $0 { true } else { false } }
                return try await body(agent)
            }
            defer { group.cancelAll() }
            while let result = try await group.next() { if let result { return result } }
            throw DirectoryError.disconnected
        }
    }
}

/// The events of a client, to wait for.
actor EventLog {
    private(set) var events: [DirectoryEvent] = []

    func add(_ event: DirectoryEvent) { events.append(event) }

    /// Waits up to 20 s until as many events as `count` match.
    func wait(count: Int = 1, _ matches: @Sendable (DirectoryEvent) -> Bool) async throws {
        for _ in 0..<2000 {
            if events.filter(matches).count >= count { return }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
        Issue.record("the event did not come; came: \(events)")
        throw DirectoryError.timeout
    }
}
