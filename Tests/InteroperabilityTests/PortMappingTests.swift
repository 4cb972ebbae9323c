import Addressing
import Gather
import Glibc
import Lab
import Linux
import PortMapping
import Synchronization
import Testing
import Timing

extension Interoperability {
    /// Our port mapping client beside miniupnpd and the lab's gateways: what they say they forward is forwarded.
    @Suite(.serialized) struct PortMappingTests {
        @Test func `these tests have their tools`() {
            #expect(Requirements.missing([("miniupnpd", "miniupnpd-nftables"), ("python3", "python3")]) == [])
        }

        @Test(arguments: MappingPeer.allCases)
        func `a port is gained, reached from outside unasked, and given up`(peer: MappingPeer) throws {
            try withNATBench { bench in
                for kind in peer.protocols {
                    try bench.become(NATBench.kinds[0])
                    let process = try peer.start(bench)
                    let socket = try DatagramSocket.bind(in: bench.host, NATBench.hostAddress)
                    let session = try MappedSession(bench, port: socket.port, [kind])
                    let gained = try session.waitForMapping()
                    figure("\(peer.rawValue), \(kind.rawValue)", "\(gained.mapped.external) after \(gained.after)")
                    #expect(gained.mapped.source == kind)
                    #expect(gained.mapped.external.address == IPAddress(peer.external))
                    #expect(gained.mapped.internalPort == socket.port)
                    #expect(try Self.isReached(socket, at: gained.mapped.external.port, bench))
                    try session.stop()
                    _ = try bench.nat.result(of: ["conntrack", "-F"])
                    #expect(try !Self.isReached(socket, at: gained.mapped.external.port, bench))
                    process.stop()
                }
            }
        }

        @Test(arguments: MappingPeer.allCases)
        func `each peer is found for what it speaks, and nothing is left behind`(peer: MappingPeer) throws {
            try withNATBench { bench in
                try bench.become(NATBench.kinds[0])
                let process = try peer.start(bench)
                defer { process.stop() }
                let before = try bench.nat.run("nft", "list", "ruleset")
                let found = try Self.discover(bench)
                figure(peer.rawValue, "\(found.findings) in \(found.seconds) s")
                for kind in MappingProtocol.allCases {
                    let finding = found.findings[kind]
                    if peer.protocols.contains(kind) {
                        let expected: [MappingFinding] = [
                            .found(external: nil), .found(external: IPAddress(peer.external)),
                        ]
                        #expect(
                            finding.map { expected.contains($0) } == true, "\(kind): \(String(describing: finding))")
                    } else {
                        #expect(finding == .absent)
                    }
                }
                #expect(try bench.nat.run("nft", "list", "ruleset") == before)
            }
        }

        @Test func `a gateway that speaks nothing is told within four seconds`() throws {
            try withNATBench { bench in
                try bench.become(NATBench.kinds[0])
                let found = try Self.discover(bench)
                #expect(found.findings.values.allSatisfy { $0 == .absent })
                #expect(found.seconds < 4.2)
            }
        }

        @Test func `a reboot that is announced restores the mapping at once`() throws {
            try withNATBench { bench in
                try bench.become(NATBench.kinds[0])
                let socket = try DatagramSocket.bind(in: bench.host, NATBench.hostAddress)
                for kind in [MappingProtocol.pcp, .natPMP] {
                    // Each with a clock that has run for a while.
                    let process = try MappingPeer.pcp.start(bench)
                    defer { process.stop() }
                    let session = try MappedSession(bench, port: socket.port, [kind])
                    let port = try session.waitForMapping().mapped.external.port
                    let maps = { process.standardOutput.split(separator: "\n").count { $0.contains("\"map\"") } }
                    let before = maps()
                    process.signal(SIGUSR1)
                    let seconds = try waitUntil("mapping restored", timeout: 5) { maps() > before }
                    figure("\(kind.rawValue) restored after a reboot", "\((seconds * 1000).rounded()) ms")
                    #expect(seconds < 1)
                    #expect(try Self.isReached(socket, at: port, bench))
                    try session.stop()
                }
            }
        }

        @Test func `ports that are taken, and leases without an end, are taken as they come`() throws {
            try withNATBench { bench in
                try bench.become(NATBench.kinds[0])
                let socket = try DatagramSocket.bind(in: bench.host, NATBench.hostAddress)
                for (peer, options) in [
                    (MappingPeer.pcp, ["--taken", "\(socket.port)"]),
                    (.upnp1, ["--taken", "\(socket.port)", "--permanent"]),
                    (.upnp2, ["--taken", "\(socket.port)"]),
                ] {
                    let process = try peer.start(bench, options)
                    let session = try MappedSession(bench, port: socket.port)
                    let mapped = try session.waitForMapping().mapped
                    #expect(mapped.external.port != socket.port)
                    #expect(try Self.isReached(socket, at: mapped.external.port, bench))
                    try session.stop()
                    process.stop()
                }
            }
        }

        @Test func `a gateway that sends us elsewhere gets nothing sent there`() throws {
            try withNATBench { bench in
                try bench.become(NATBench.kinds[0])
                for lie in [
                    ["--location", "http://\(NATBench.first):80/x"], ["--control", "http://\(NATBench.first):80/x"],
                ] {
                    let process = try MappingPeer.upnp2.start(bench, lie)
                    let capture = try Capture(in: bench.outside, link: "eth0", filter: ["tcp"])
                    let found = try Self.discover(bench)
                    if case .found = found.findings[.upnp] { Issue.record("it was followed: \(lie)") }
                    #expect(try capture.stop().isEmpty)
                    process.stop()
                }
            }
        }

        private static func discover(
            _ bench: NATBench
        ) throws -> (findings: [MappingProtocol: MappingFinding], seconds: Double) {
            let start = Clock.now
            let findings = try NetworkNamespace(path: bench.host.path).run {
                guard let gateway = try DefaultGateway.find() else { throw LabError.unexpected("no gateway") }
                return try GatewaySession(gateway, internalPort: 51820, .discover).discover(within: .seconds(5))
            }
            return (findings, ((Clock.now - start) * 100).rounded() / 100)
        }

        /// Whether a datagram of somebody unknown to the NAT arrives.
        private static func isReached(_ socket: DatagramSocket, at port: UInt16, _ bench: NATBench) throws -> Bool {
            let outside = try DatagramSocket.bind(in: bench.outside, NATBench.second)
            let text = Array("unasked \(UInt64.random(in: .min ... .max))".utf8)
            guard let router = IPAddress(NATBench.router) else { return false }
            try outside.send(text, to: Endpoint(router, port: port))
            while let (bytes, _) = socket.receive(timeout: 0.3) {
                if bytes == text { return true }
            }
            return false
        }
    }
}

/// A gateway session at work on the bench's host.
private final class MappedSession: Sendable {
    private struct State {
        var session: GatewaySession?
        var mapped: MappedPort?
        var isOver = false
        var failure: String?
    }

    private let state = Mutex(State())
    private let start = Clock.now

    init(_ bench: NATBench, port: UInt16, _ protocols: Set<MappingProtocol> = Set(MappingProtocol.allCases)) throws {
        let path = bench.host.path
        _ = try Thread(named: "mapping") { [self] in
            do {
                try NetworkNamespace(path: path).run { [self] in
                    guard let gateway = try DefaultGateway.find() else { throw LabError.unexpected("no gateway") }
                    var configuration = GatewayClient.Configuration()
                    configuration.protocols = protocols
                    let session = try GatewaySession(gateway, internalPort: port, .map, configuration) { mapped in
                        self.state.withLock { $0.mapped = mapped }
                    }
                    state.withLock { $0.session = session }
                    try session.run()
                }
            } catch { state.withLock { $0.failure = "\(error)" } }
            state.withLock { state in
                state.session = nil
                state.isOver = true
            }
        }
    }

    func waitForMapping() throws -> (mapped: MappedPort, after: String) {
        let mapped = try waitUntil("a mapping", timeout: 8) {
            if let failure = state.withLock({ $0.failure }) { throw LabError.ended("the session", text: failure) }
            return state.withLock { $0.mapped }
        }.value
        return (mapped, "\(((Clock.now - start) * 1000).rounded()) ms")
    }

    /// Gives the mapping up and waits until that is done.
    func stop() throws {
        state.withLock { $0.session }?.stop()
        try waitUntil("the session's end", timeout: 5) { state.withLock { $0.isOver } }
        #expect(state.withLock { $0.failure } == nil)
    }
}
