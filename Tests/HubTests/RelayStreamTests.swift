import Addressing
import Directory
import Membership
import NIOCore
import NIOPosix
import RelayStream
import Sodium
import Testing
import Timing

@testable import Hub
@testable import Relay

/// Relay streams, for real: TLS, HTTP Upgrade and WebSocket on loopback.
@Suite(.timeLimit(.minutes(2))) struct RelayStreamTests {
    static let loop = HubLink.group.next()

    @Test func `two members on streams reach each other, and the relay knows them by their ids`() async throws {
        try await TestHub.with { hub in
            try await hub.serving(roles: [.relay]) { port in
                let (first, second) = (try StreamMember(hub), try StreamMember(hub))
                try await first.register(hub.connector(port), on: Self.loop)
                try await second.register(hub.connector(port), on: Self.loop)
                for number in 0..<50 as Range<UInt8> {
                    first.send(to: second.id, [UInt8](repeating: number, count: 1400))
                }
                try await eventually { second.inbox.count == 50 }
                #expect(second.inbox.map(\.payload) == (0..<50).map { [UInt8](repeating: $0, count: 1400) })
                #expect(second.inbox.allSatisfy { $0.source == first.id })
            }
        }
    }

    @Test func `a member on a stream and one on datagrams reach each other`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay { port, relayPort in
                let stream = try StreamMember(hub)
                try await stream.register(hub.connector(port), on: Self.loop)
                let datagrams = try DatagramMember(hub, at: relayPort)
                try await datagrams.register()
                for size in [1, 100, 1400, 8900] {
                    stream.send(to: datagrams.id, [UInt8](repeating: 7, count: size))
                    let received = try await datagrams.next()
                    #expect(received.source == stream.id && received.payload.count == size)
                    datagrams.send(to: stream.id, [UInt8](repeating: 9, count: size))
                    try await eventually { stream.inbox.last?.payload.count == size }
                }
                #expect(stream.inbox.allSatisfy { $0.source == datagrams.id })
            }
        }
    }

    @Test func `without TLS, as behind an ingress, the same streams serve`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay(changing: { $0.webListen = Endpoint("127.0.0.1:0")! }) { server in
                // An ingress that ends TLS, in small: a port that passes bytes on from TLS to the plain one.
                let ingress = try await TestIngress(hub, to: server.webPort)
                let (first, second) = (try StreamMember(hub), try StreamMember(hub))
                try await first.register(hub.connector(ingress.port), on: Self.loop)
                try await second.register(hub.connector(server.port), on: Self.loop)
                first.send(to: second.id, [1, 2, 3])
                try await eventually { second.inbox.count == 1 }
                try await ingress.close()
            }
        }
    }

    @Test func `an agent that comes again replaces its old session at once`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay { port, relayPort in
                let (old, sender) = (try StreamMember(hub), try StreamMember(hub))
                try await old.register(hub.connector(port), on: Self.loop)
                try await sender.register(hub.connector(port), on: Self.loop)
                let new = try StreamMember(hub, identity: old.identity)
                try await new.register(hub.connector(port), on: Self.loop)
                sender.send(to: new.id, [1])
                try await eventually { new.inbox.count == 1 }
                #expect(old.inbox.isEmpty)
                try await eventually(2) { old.isClosed }
            }
        }
    }

    @Test func `a server with another key is refused, and so is one that knows no upgrade`() async throws {
        try await TestHub.with { hub in
            try await hub.serving(roles: [.relay]) { port in
                let member = try StreamMember(hub)
                let address = HubAddress(host: "127.0.0.1", port: port)!
                await #expect(throws: RelayStreamError.wrongPin(address)) {
                    try await member.open(hub.connector(port, pin: .zero), on: Self.loop)
                }
            }
            try await hub.serving(roles: [.authority]) { port in
                let member = try StreamMember(hub)
                let address = HubAddress(host: "127.0.0.1", port: port)!
                await #expect(throws: RelayStreamError.notUpgraded(address, status: 404)) {
                    try await member.open(hub.connector(port), on: Self.loop)
                }
            }
        }
    }

    @Test func `through a proxy with credentials, and what it says when they are wrong`() async throws {
        try await TestHub.with { hub in
            try await hub.serving(roles: [.relay]) { port in
                let proxy = try await TestProxy(credentials: "user:pa ss")
                let right = HTTPProxy(url: "http://user:pa%20ss@127.0.0.1:\(proxy.port)")!
                let member = try StreamMember(hub)
                try await member.register(hub.connector(port, proxy: right), on: Self.loop)
                member.send(to: member.id, [4])
                try await eventually { member.inbox.count == 1 }
                #expect(proxy.connects == ["127.0.0.1:\(port)"])

                let wrong = HTTPProxy(url: "http://user:other@127.0.0.1:\(proxy.port)")!
                await #expect(throws: RelayStreamError.proxy(.credentials(wrong.address))) {
                    try await StreamMember(hub).open(hub.connector(port, proxy: wrong), on: Self.loop)
                }
                let none = HTTPProxy(url: "127.0.0.1:\(port)")!
                await #expect(throws: RelayStreamError.self) {
                    try await StreamMember(hub).open(hub.connector(port, proxy: none), on: Self.loop)
                }
                try await proxy.close()
            }
        }
    }

    @Test func `a relay that ends tells its members, and gives them their time`() async throws {
        try await TestHub.with { hub in
            let member = try StreamMember(hub)
            try await hub.serving(roles: [.relay], changing: { $0.relayDrain = .seconds(1) }) { port in
                try await member.register(hub.connector(port), on: Self.loop)
            }
            #expect(member.events.contains(.draining(within: .seconds(1))))
            try await eventually(2) { member.isClosed }
        }
    }
}

@Suite struct HTTPProxyTests {
    @Test func `what HTTPS_PROXY may say`() {
        #expect(HTTPProxy(url: "http://proxy.example:3128")?.address == HubAddress("proxy.example:3128"))
        #expect(HTTPProxy(url: "http://proxy.example:3128")?.authorization == nil)
        #expect(HTTPProxy(url: "proxy.example:8080/")?.address == HubAddress("proxy.example:8080"))
        #expect(HTTPProxy(url: "HTTP://[2001:db8::1]")?.address == HubAddress("[2001:db8::1]:80"))
        // RFC 7617 section 2's own example.
        #expect(
            HTTPProxy(url: "http://Aladdin:open%20sesame@p:1")?.authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        #expect(HTTPProxy(url: "http://only-user@p:1")?.authorization == "Basic b25seS11c2VyOg==")
        for wrong in [
            "", "https://p:1", "socks5://p:1", "http://", "http://p:0", "http://a%3Ab:c@p:1", "http://%zz@p:1",
        ] {
            #expect(HTTPProxy(url: wrong) == nil, "\(wrong)")
        }
    }

    @Test func `the variables name a proxy for all but the exceptions`() throws {
        func proxy(_ no: String, _ host: String) throws -> HTTPProxy? {
            try ProxyRules(["HTTPS_PROXY": "http://p:1", "NO_PROXY": no]).proxy(for: host)
        }
        #expect(try proxy("", "relay.example") != nil)
        #expect(try proxy("other.example, .example", "relay.example") == nil)
        #expect(try proxy("Relay.Example", "relay.example") == nil)
        #expect(try proxy("lay.example", "relay.example") != nil)
        #expect(try proxy("*", "192.0.2.1") == nil)
        #expect(try proxy("10.0.0.0/8,192.0.2.0/24", "192.0.2.1") == nil)
        #expect(try proxy("10.0.0.0/8,192.0.2.0/24", "192.0.3.1") != nil)
        #expect(try proxy("2001:db8::/32", "2001:db8::7") == nil)
        #expect(try ProxyRules([:]).proxy(for: "x") == nil)
        #expect(try ProxyRules(["https_proxy": "p:1"]).proxy(for: "x") != nil)
        #expect(throws: ProxyError.malformed) { _ = try ProxyRules(["HTTPS_PROXY": "https://p"]) }
    }
}
