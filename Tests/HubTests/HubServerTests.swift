import Addressing
import Directory
import Glibc
import Membership
import NIOCore
import NIOPosix
import Sodium
import Testing
import Timing

@testable import Hub

@Suite(.timeLimit(.minutes(2))) struct HubServerTests {
    @Test func `health is ok with the roles, and anything else is not found`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let text = try await HealthCheck.ask(HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin)
                #expect(text.hasPrefix(#"{"status":"ok","roles":{"authority":"on","directory":"on","relay":"off"},"#))
                // For those who look at their network before they join.
                #expect(text.contains(#""udp":["192.0.2.9:3478"]"#))
                #expect(text.contains(#""stun":["192.0.2.9:3478"]"#))
                await #expect(throws: HubError.self) {
                    _ = try await HealthCheck.ask(HubAddress(host: "127.0.0.1", port: port)!, pin: .zero)
                }
            }
        }
    }

    @Test func `a second init changes nothing`() async throws {
        try await TestHub.with { hub in
            var options = HubFolder.Options(
                mesh: "other", ranges: [TestHub.range], address: HubAddress("192.0.2.1:1")!, relays: [])
            options.stun = []
            let (again, isNew) = try HubFolder.create(hub.folder.path, options)
            #expect(!isNew)
            #expect(again.configuration == hub.folder.configuration)
            #expect(again.pin == hub.folder.pin)
        }
    }

    @Test func `an init that was cut short is finished with the same keys`() async throws {
        try await TestHub.with { hub in
            let path = hub.folder.path
            _ = unsafe unlink("\(path)/hub.json")
            #expect(throws: HubError.notAHub(path)) { try HubFolder(opening: path) }
            let options = HubFolder.Options(
                mesh: "demo", ranges: [TestHub.range], address: HubAddress("127.0.0.1:7443")!, relays: [])
            let (again, isNew) = try HubFolder.create(path, options)
            #expect(isNew)
            #expect(again.configuration.authorityKey == hub.folder.configuration.authorityKey)
            #expect(again.pin == hub.folder.pin)
        }
    }

    @Test func `a key that is missing, exposed, damaged or another's stops the start with one line`() async throws {
        try await TestHub.with { hub in
            let key = "\(hub.folder.path)/authority.key"
            func start() async throws { try await hub.serving { _ in } }
            _ = unsafe chmod(key, 0o640)
            await #expect(throws: HubError.exposedFile(key, mode: 0o640)) { try await start() }
            _ = unsafe chmod(key, 0o600)
            _ = unsafe unlink(key)
            await #expect(throws: HubError.missingFile(key)) { try await start() }
            try KeyFile.create(key, Array("nonsense".utf8))
            await #expect(throws: HubError.malformedFile(key)) { try await start() }
            _ = unsafe unlink(key)
            try KeyFile.create(key, Array(Base64.encode([UInt8](repeating: 4, count: 32)).utf8))
            await #expect(throws: HubError.malformedFile(key)) { try await start() }
            #expect(!HubError.exposedFile(key, mode: 0o640).description.contains("\n"))
        }
    }

    @Test func `a role does not read another role's key`() async throws {
        try await TestHub.with { hub in
            _ = unsafe unlink("\(hub.folder.path)/authority.key")
            try await hub.serving(roles: [.directory]) { port in #expect(port > 0) }
        }
    }

    @Test func `the authority's key is not in the database`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                _ = try await hub.join(port, secret, TestHub.identity(), name: "one", [TestHub.address(1)])
            }
            let seed = try hub.folder.loadAuthorityKey().exportSeed()
            for entry in try await hub.folder.openStore().list("").entries {
                for needle in [seed, secret] {
                    let text = String(decoding: entry.value, as: UTF8.self) + entry.key
                    #expect(!text.contains(Base64.encode(needle)) && !text.contains(Base64.encodeURL(needle)))
                    #expect(!text.contains(Hexadecimal.encode(needle)))
                }
            }
        }
    }

    @Test func `a taken port is said to be taken`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let error = await #expect(throws: HubError.self) { try await hub.serving(port: port) { _ in } }
                #expect(error == .portTaken("127.0.0.1:\(port)"))
            }
        }
    }

    @Test func `a server that is cancelled frees its port`() async throws {
        try await TestHub.with { hub in
            let port = try await hub.serving { port in port }
            let again = try await hub.serving(port: port) { port in port }
            #expect(again == port)
        }
    }

    @Test func `a source above its limit of connections is turned away, others are not`() async throws {
        try await TestHub.with { hub in
            try await hub.serving(changing: { $0.limits.perSource = 2 }) { port in
                let link = try HubLink(to: HubAddress(host: "127.0.0.1", port: port)!, pin: hub.folder.pin)
                let first = try await link.connect()
                let second = try await link.connect()
                await #expect(throws: DirectoryError.self) { _ = try await link.connect() }
                for connection in [first, second] { try await connection.executeThenClose { _, _ in } }
                for _ in 0..<200 {
                    if let third = try? await link.connect() { return try await third.executeThenClose { _, _ in } }
                    try await Task.sleep(nanoseconds: 10_000_000)
                }
                #expect(Bool(false), "the limit stays reached")
            }
        }
    }

    @Test func `bytes that are no TLS harm nobody`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                for bytes in [
                    "GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\u{0}\u{5}hello", String(repeating: "A", count: 100_000),
                ] {
                    let channel = try await ClientBootstrap(group: HubLink.group)
                        .connect(host: "127.0.0.1", port: Int(port)).get()
                    try? await channel.writeAndFlush(ByteBuffer(string: bytes))
                    try? await channel.close()
                }
                _ = try await hub.join(port, secret, TestHub.identity(), name: "one", [TestHub.address(1)])
            }
        }
    }
}

@Suite struct ConnectionLimitsTests {
    private let v4 = IPAddress("192.0.2.1")!
    private let start = MonotonicTime(nanoseconds: 1)

    @Test func `connections are counted for a source and in all`() {
        var bounds = ConnectionLimits.Bounds()
        bounds.perSource = 2
        bounds.total = 3
        let limits = ConnectionLimits(bounds)
        #expect(limits.open(from: v4, now: start))
        #expect(limits.open(from: IPAddress("::ffff:192.0.2.1")!, now: start))
        #expect(!limits.open(from: v4, now: start))
        #expect(limits.open(from: IPAddress("2001:db8::1")!, now: start))
        #expect(!limits.open(from: IPAddress("198.51.100.1")!, now: start))
        limits.close(from: v4, now: start)
        #expect(limits.open(from: IPAddress("198.51.100.1")!, now: start))
        #expect(limits.openConnections == 3)
    }

    @Test func `an IPv6 source is a 64-bit prefix`() {
        var bounds = ConnectionLimits.Bounds()
        bounds.perSource = 1
        let limits = ConnectionLimits(bounds)
        #expect(limits.open(from: IPAddress("2001:db8::1")!, now: start))
        #expect(!limits.open(from: IPAddress("2001:db8::2")!, now: start))
        #expect(limits.open(from: IPAddress("2001:db8:0:1::2")!, now: start))
    }

    @Test func `new connections have a rate`() {
        var bounds = ConnectionLimits.Bounds()
        bounds.new = TokenBucket.Limit(perSecond: 1, burst: 2)
        let limits = ConnectionLimits(bounds)
        for _ in 0..<2 {
            #expect(limits.open(from: v4, now: start))
            limits.close(from: v4, now: start)
        }
        #expect(!limits.open(from: v4, now: start))
        #expect(limits.open(from: v4, now: start + .seconds(1)))
    }
}
