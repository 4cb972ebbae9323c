import Addressing
import Directory
import Membership
import NIOCore
import RelayStream
import Sodium
import Synchronization
import Testing
import Timing

@testable import Hub
@testable import Relay
@testable import Sidecar
@testable import Tunnel

/// The sidecar's end of relay streams, at a real relay on loopback.
@Suite(.timeLimit(.minutes(1))) struct StreamBridgeTests {
    /// An agent's relays and their streams, without a tunnel: what the control thread does is done by `turn`.
    final class End: Sendable {
        let identity: Identity
        let bridge: StreamBridge
        private let homes: Mutex<RelayHomes>
        private let reports = Mutex<[StreamBridge.Report]>([])
        /// Why streams could not be opened.
        private let failures = Mutex<[RelayStreamError]>([])

        init(_ hub: TestHub, _ connectors: RelayStreams.Connectors) throws {
            let identity = try TestHub.identity()
            self.identity = identity
            var transports: Set<RelayTransport> = []
            if connectors.tls != nil { transports.insert(.tls) }
            if connectors.proxy != nil { transports.insert(.proxy) }
            let target = RelayHomes.Target(
                id: try hub.relayID, endpoint: StreamMember.anywhere, transports: transports)
            homes = Mutex(
                RelayHomes(
                    [target], identity: .init(key: identity.publicKey) { identity.sign($0) },
                    credential: try hub.credential(for: identity), now: .now()))
            bridge = try StreamBridge([connectors], on: HubLink.group.next())
            bridge.follow { [weak self] report in self?.reports.withLock { $0.append(report) } }
        }

        var transport: RelayTransport? { homes.withLock { $0.uplink(0)?.active } }
        var lastFailure: RelayStreamError? { failures.withLock { $0.last } }

        func turn() {
            let news = reports.withLock { reports in
                defer { reports = [] }
                return reports
            }
            homes.withLock { homes in
                var random = SecureRandom()
                for report in news {
                    switch report {
                    case .opened(let relay, let attempt):
                        homes.stream(isOpen: true, relay: relay, attempt: attempt, now: .now(), using: &random)
                    case .closed(let relay, let attempt, let error):
                        if let error { failures.withLock { $0.append(error) } }
                        homes.stream(isOpen: false, relay: relay, attempt: attempt, now: .now(), using: &random)
                    case .frame(let bytes, let relay, let attempt):
                        bridge.taken()
                        _ = unsafe homes.receive(
                            frame: bytes.span.bytes, relay: relay, attempt: attempt, now: .now(), using: &random)
                    }
                }
                homes.poll(now: .now(), using: &random)
                for (relay, action) in homes.takeActions() {
                    switch action {
                    case .sendDatagram: break
                    case .sendFrame(let frame, let attempt): bridge.send(frame, relay, attempt: attempt)
                    case .open(let transport, let attempt, let hello):
                        bridge.open(relay, attempt: attempt, by: transport, hello)
                    case .close(let attempt): bridge.close(relay, attempt: attempt)
                    }
                }
                for case .relay(let relay, let event) in homes.takeEvents() {
                    if case .up = event { bridge.use(homes.uplink(relay)?.activeStream, for: relay) }
                    if case .down = event { bridge.use(nil, for: relay) }
                }
            }
        }

        func register() async throws {
            try await eventually {
                turn()
                return transport != nil
            }
        }

        /// As a packet thread does it.
        func send(_ payloads: [[UInt8]], to agent: AgentID) throws {
            let header = try #require(homes.withLock { $0.uplink(0)?.wrapHeader(agent) })
            var run = StreamRun()
            for payload in payloads {
                let frame = header.indices.map { header[$0] } + payload
                unsafe frame.withUnsafeBytes { unsafe run.add($0, relay: 0, to: bridge.gate) }
            }
            run.flush(to: bridge.gate)
        }

        /// What came in, for the packet thread.
        func take() -> [(source: AgentID?, payload: [UInt8])] {
            bridge.gate.take().flatMap { message in
                var taken: [(source: AgentID?, payload: [UInt8])] = []
                while let frame = unsafe message.next() {
                    taken.append((unsafe RelayRoute.source(of: frame), unsafe Array(frame.dropFirst(20))))
                }
                return taken
            }
        }
    }

    @Test func `relay data goes from one agent's gate to the other's, each byte of it`() async throws {
        try await TestHub.with { hub in
            try await hub.serving(roles: [.relay]) { port in
                let first = try End(hub, .init(tls: hub.connector(port)))
                let second = try End(hub, .init(tls: hub.connector(port)))
                try await first.register()
                try await second.register()
                #expect(first.transport == .tls)
                let wanted = (0..<500).map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: 1 + $0 * 7) }
                var received: [(source: AgentID?, payload: [UInt8])] = []
                for start in stride(from: 0, to: wanted.count, by: 50) {
                    try first.send(Array(wanted[start..<start + 50]), to: second.identity.id)
                    try await eventually {
                        received += second.take()
                        return received.count >= start + 50
                    }
                }
                #expect(received.map(\.payload) == wanted)
                #expect(received.allSatisfy { $0.source == first.identity.id })
                #expect(first.bridge.dropped == 0 && second.bridge.dropped == 0)
                try second.send([[1]], to: first.identity.id)
                try await eventually { first.take().map(\.payload) == [[1]] }
            }
        }
    }

    @Test func `through a proxy that wants credentials, and with others not`() async throws {
        try await TestHub.with { hub in
            try await hub.serving(roles: [.relay]) { port in
                let proxy = try await TestProxy(credentials: "agent:pass")
                let right = HTTPProxy(url: "http://agent:pass@127.0.0.1:\(proxy.port)")!
                let wrong = HTTPProxy(url: "http://agent:word@127.0.0.1:\(proxy.port)")!
                let end = try End(hub, .init(tls: nil, proxy: hub.connector(port, proxy: right)))
                try await end.register()
                #expect(end.transport == .proxy)
                try end.send([[7, 7]], to: end.identity.id)
                try await eventually { end.take().map(\.payload) == [[7, 7]] }
                let other = try End(hub, .init(tls: nil, proxy: hub.connector(port, proxy: wrong)))
                try await eventually {
                    other.turn()
                    return other.lastFailure == .proxy(.credentials(wrong.address))
                }
                try await proxy.close()
            }
        }
    }

    @Test func `data for a relay without a stream is counted, and comes to nothing`() async throws {
        try await TestHub.with { hub in
            let end = try End(hub, .init(tls: hub.connector(1)))
            let frame = [UInt8](repeating: 0xc0, count: 30)
            for relay in [0, 1, 200] as [UInt8] {
                var run = StreamRun()
                unsafe frame.withUnsafeBytes { unsafe run.add($0, relay: relay, to: end.bridge.gate) }
                run.flush(to: end.bridge.gate)
            }
            #expect(end.bridge.dropped == 3)
        }
    }

    @Test func `a relay that is gone and comes again has the agent again`() async throws {
        try await TestHub.with { hub in
            let (end, port) = try await hub.serving(roles: [.relay]) { port in
                let end = try End(hub, .init(tls: hub.connector(port)))
                try await end.register()
                return (end, port)
            }
            try await eventually {
                end.turn()
                return end.transport == nil
            }
            try await hub.serving(port: port, roles: [.relay]) { _ in
                try await end.register()
                try end.send([[3]], to: end.identity.id)
                try await eventually { end.take().map(\.payload) == [[3]] }
            }
        }
    }
}

/// Join and directory through a proxy.
@Suite(.timeLimit(.minutes(1))) struct ProxiedHubTests {
    @Test func `an agent joins and is connected through a proxy that wants credentials`() async throws {
        try await TestHub.with { hub in
            let secret = try await hub.token()
            try await hub.serving { port in
                let proxy = try await TestProxy(credentials: "agent:pass")
                let address = HubAddress(host: "127.0.0.1", port: port)!
                func client(_ credentials: String) throws -> AuthorityClient {
                    try AuthorityClient(
                        address: address, pin: hub.folder.pin, verifier: hub.verifier,
                        proxy: HTTPProxy(url: "http://\(credentials)@127.0.0.1:\(proxy.port)"))
                }
                let identity = try TestHub.identity()
                let admission = try await client("agent:pass").join(
                    secret: SecretKey(copying: secret), identity: identity, name: "agent-1",
                    addresses: [TestHub.address(1)])
                #expect(proxy.connects == ["127.0.0.1:\(port)"])
                await #expect(
                    throws: DirectoryError.unreachable(
                        address, reason: ProxyError.credentials(HubAddress("127.0.0.1:\(proxy.port)")!).description)
                ) { _ = try await client("agent:word").renew(identity: identity) }

                let directory = DirectoryClient(
                    address: address, pin: hub.folder.pin, verifier: hub.verifier, identity: identity,
                    credential: admission.credential, logger: TestHub.quiet,
                    proxy: HTTPProxy(url: "http://agent:pass@127.0.0.1:\(proxy.port)"))
                let running = Task { await directory.run() }
                try await eventually { directory.isConnected }
                #expect(proxy.connects.count == 2)
                running.cancel()
                await running.value
                try await proxy.close()
            }
        }
    }

    @Test func `a proxy that is not there, and one that is none, are named`() async throws {
        try await TestHub.with { hub in
            try await hub.serving { port in
                let address = HubAddress(host: "127.0.0.1", port: port)!
                func failure(_ proxy: String) async throws -> String {
                    let link = try HubLink(to: address, pin: hub.folder.pin, proxy: HTTPProxy(url: proxy))
                    do {
                        _ = try await link.connect()
                        return ""
                    } catch { return "\(error)" }
                }
                let absent = try await failure("127.0.0.1:1")
                #expect(absent.contains("proxy 127.0.0.1:1: "), "\(absent)")
                // The hub's own port speaks TLS.
                let foreign = try await failure("127.0.0.1:\(port)")
                #expect(foreign.contains("proxy 127.0.0.1:\(port): "), "\(foreign)")
            }
        }
    }
}
