import Lab
import Testing

/// `warrend wireguard` beside Debian's wireguard-go, both driven by the stock `wg` tool, in namespaces of their own:
///
/// ```
///   a 192.0.2.1, 2001:db8::1  eth0 ───────── eth0  b 192.0.2.2, 2001:db8::2
///     10.9.0.1, fd09::1       one end     one end    10.9.0.2, fd09::2
/// ```
///
/// One test after the other: they measure times and share two cores. Needs root.
@Suite(.serialized) struct Interoperability {
    static let tools = [
        ("ip", "iproute2"), ("ping", "iputils-ping"), ("tcpdump", "tcpdump"), ("curl", "curl"), ("python3", "python3"),
        ("setpriv", "util-linux"), ("wg", "wireguard-tools"), ("wireguard-go", "wireguard-go"),
    ]

    @Test func `these tests run as root and have their tools`() {
        #expect(Requirements.missing(Self.tools) == [])
    }
}

/// A cable between two namespaces, taken down afterwards with all that runs there, whatever happens.
func withCable(_ body: (Cable) throws -> Void) throws {
    let ground = try CableGround()
    defer { ground.clear() }
    try body(try Cable(in: ground.sandbox))
    ground.expectNothingLeft()
}

/// The same for a test that waits so long that it must leave its thread to others meanwhile.
func withCable(_ body: (Cable) async throws -> Void) async throws {
    let ground = try CableGround()
    defer { ground.clear() }
    try await body(try Cable(in: ground.sandbox))
    ground.expectNothingLeft()
}

/// What a cable and the ends on it are in.
private struct CableGround {
    let sandbox: Sandbox
    private let sockets = End.prefix

    init() throws {
        sandbox = try Sandbox.unique()
        Interruption.cleanUp { [self] in clear() }
    }

    func clear() {
        sandbox.tearDown()
        End.removeSockets(sockets)
    }

    func expectNothingLeft() {
        sandbox.tearDown()
        #expect(Sandbox.remains(of: sandbox.name) == [])
    }
}

/// Both ends of one tunnel, ours at `a` and wireguard-go at `b`, started but not yet peers.
func withPair(_ body: (Cable, _ ours: End, _ other: End) throws -> Void) throws {
    try withCable { cable in
        let ours = try End(.ours, at: cable.a, number: 1)
        let other = try End(.wireguardGo, at: cable.b, number: 2)
        try ours.start()
        try other.start()
        try body(cable, ours, other)
    }
}

/// A measured value, for the person who reads the run.
func figure(_ what: String, _ value: String) { print("  figure: \(what): \(value)") }
