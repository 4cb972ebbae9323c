import Glibc
import Lab
import Sodium
import Synchronization

/// A WireGuard key pair as `wg` writes it.
struct Keys {
    let privateKey: String
    let publicKey: String
    /// The same keys for our own code.
    let secretBytes: [UInt8]
    let publicBytes: X25519.PublicKey

    init() throws {
        try Libsodium.initialize()
        var random = SecureRandom()
        let secret = try SecretKey(using: &random)
        secretBytes = secret.exportBytes()
        publicBytes = X25519.publicKey(of: secret)
        privateKey = (Bytes32(secretBytes) ?? .zero).base64
        publicKey = publicBytes.base64
    }
}

/// One userspace WireGuard interface and the process that serves it.
final class End {
    enum Implementation: String { case ours = "warrend", wireguardGo = "wireguard-go" }

    let implementation: Implementation
    let side: Cable.Side
    let interface: String
    let keys: Keys
    let ipv4: String
    let ipv6: String
    /// The interface's namespace: the side's, until it is moved.
    private(set) var home: Namespace

    private static let counter = Mutex(0)
    /// How the names of this process's interfaces begin.
    static var prefix: String { "wi" + String(getpid(), radix: 36) }

    /// - Parameter number: the host part of the inner addresses, in the tunnel's own network.
    init(_ implementation: Implementation, at side: Cable.Side, number: Int, network: Int = 0) throws {
        self.implementation = implementation
        self.side = side
        home = side.namespace
        keys = try Keys()
        interface =
            Self.prefix
            + Self.counter.withLock { counter in
                counter += 1
                return "n\(counter)"
            }
        ipv4 = "10.9.\(network).\(number)"
        ipv6 = "fd09:\(network)::\(number)"
    }

    var sandbox: Sandbox { side.namespace.sandbox }
    var socketPath: String { "/var/run/wireguard/\(interface).sock" }

    static func removeSockets(_ prefix: String) {
        for name in names(in: "/var/run/wireguard") where name.hasPrefix(prefix + "n") {
            removeFile("/var/run/wireguard/\(name)")
        }
    }

    // MARK: The process

    /// What starts it: in the background unless `foreground`.
    func command(foreground: Bool = false) throws -> [String] {
        let option = foreground ? ["-f"] : []
        switch implementation {
        case .ours: return ["\(try Programs.folder())/warrend", "wireguard"] + option + [interface]
        case .wireguardGo: return ["wireguard-go"] + option + [interface]
        }
    }

    /// Starts it in the background and gives the interface its addresses, up.
    func start(environment: [String: String] = [:]) throws {
        let output = try side.namespace.result(of: try command(), environment: environment, timeout: 20)
        guard output.succeeded else {
            throw LabError.command(try command(), status: output.status, text: output.text)
        }
        try bringUp()
    }

    func bringUp() throws {
        try home.run("ip", "address", "add", "\(ipv4)/24", "dev", interface)
        try home.run("ip", "address", "add", "\(ipv6)/64", "dev", interface, "nodad")
        try home.run("ip", "link", "set", interface, "mtu", "1420", "up")
    }

    func move(to namespace: Namespace) throws {
        try home.run("ip", "link", "set", interface, "netns", namespace.name)
        home = namespace
        try bringUp()
    }

    /// The processes that serve the interface, by their arguments.
    var processes: [Int32] {
        names(in: "/proc").compactMap { Int32($0) }.filter { pid in
            let words = readText("/proc/\(pid)/cmdline").split(separator: "\0")
            guard words.last.map(String.init) == interface, let program = words.first else { return false }
            return program.split(separator: "/").last.map(String.init) == implementation.rawValue
        }
    }

    // MARK: wg

    /// `wg set INTERFACE …`.
    func set(_ words: String...) throws { try set(words) }

    func set(_ words: [String]) throws {
        _ = try sandbox.output(of: home.enter + ["wg", "set", interface] + words)
    }

    /// Sets the private key and the port.
    func setUp(port: UInt16) throws {
        try set("private-key", try file("key", keys.privateKey), "listen-port", "\(port)")
    }

    /// Adds `other` as the peer, with its inner addresses as allowed IPs.
    func add(
        _ other: End, endpoint: String? = nil, presharedKey: String? = nil, keepalive: Int? = nil
    ) throws {
        var words = ["peer", other.keys.publicKey, "allowed-ips", "\(other.ipv4)/32,\(other.ipv6)/128"]
        if let endpoint { words += ["endpoint", endpoint] }
        if let presharedKey { words += ["preshared-key", try file("psk", presharedKey)] }
        if let keepalive { words += ["persistent-keepalive", "\(keepalive)"] }
        try set(words)
    }

    /// A file of the sandbox with a secret in it.
    func file(_ hint: String, _ text: String) throws -> String {
        let path = sandbox.path(hint)
        try writeText(text + "\n", to: path, mode: 0o600)
        return path
    }

    func status() throws -> Status { try Status(home.run("wg", "show", interface, "dump")) }

    /// The only peer's line of `wg show dump`.
    func peer() throws -> Status.Peer {
        guard let peer = try status().peers.first else { throw LabError.unexpected("\(interface) has no peer") }
        return peer
    }

    /// Waits until the interface pings `other`'s inner address, so that a session is there.
    func reach(_ other: End, timeout: Double = 12) throws {
        try waitUntil("\(implementation) reaches \(other.implementation)", timeout: timeout, every: 0.05) {
            try home.result(of: ["ping", "-n", "-c", "1", "-W", "1", other.ipv4]).succeeded
        }
    }
}
