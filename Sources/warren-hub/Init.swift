import Addressing
import ArgumentParser
import Hub
import Kubernetes
import Membership
import Sodium

/// `warren-hub init`: makes the hub's folder and keys.
struct Init: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a hub: its folder, keys and certificate.",
        discussion: """
            With --in-cluster the keys go into a Secret and what agents need to find the hub into a ConfigMap, both of this \
            pod's namespace; no file is written. What is there already stays as it is.
            """)

    @Option(help: ArgumentHelp("The hub's folder.", valueName: "dir"))
    var dir = "/var/lib/warren-hub"
    @OptionGroup var cluster: ClusterInit
    @Option(help: "The mesh's name: 1 to 63 lower-case letters, digits, '-' and '.'.")
    var mesh: String
    @Option(
        help: ArgumentHelp(
            "The mesh's IPv6 addresses, a /48 of fd00::/8; chosen at random if left out.",
            valueName: "fdxx:xxxx:xxxx::/48"))
    var prefix: String?
    @Option(
        name: .customLong("ipv4-range"), help: ArgumentHelp("The mesh's IPv4 addresses, if any.", valueName: "cidr"))
    var ipv4Range: String?
    @Option(help: ArgumentHelp("This hub's TLS address, as agents reach it.", valueName: "host:port"))
    var address: String
    @OptionGroup var places: Places
    @Option(help: ArgumentHelp("Another hub's authority key, in base64: this hub gets none.", valueName: "key"))
    var authorityKey: String?

    mutating func run() async throws {
        try Libsodium.initialize()
        var ranges = [try meshPrefix()]
        if let text = ipv4Range {
            guard let range = IPPrefix(text), !range.address.isIPv6, (8...30).contains(range.length) else {
                throw HubError.option("--ipv4-range \(text): an IPv4 range is needed, as 10.9.0.0/16")
            }
            ranges.append(range)
        }
        guard let address = HubAddress(address) else {
            throw HubError.option("--address \(address): HOST:PORT is needed")
        }
        var options = HubFolder.Options(mesh: mesh, ranges: ranges, address: address, relays: try places.relays())
        options.stun = try places.stunServers()
        options.foreignAuthority = try authorityKey.map { try key($0, "--authority-key") }
        options.directory = try places.directory()
        if cluster.inCluster { return try await cluster.make(options) }
        let (made, isNew) = try HubFolder.create(dir, options)
        let configuration = made.configuration
        print(
            isNew
                ? "made a hub for mesh \(configuration.mesh) in \(made.path)"
                : "\(made.path) is a hub for mesh \(configuration.mesh) already: nothing was changed")
        try printFacts(made)
    }

    private func meshPrefix() throws(HubError) -> IPPrefix {
        guard let prefix else {
            // RFC 4193 3.2: 40 random bits after fd00::/8, so that two meshes can meet.
            let bits = Libsodium.randomBytes(5).reduce(UInt64(0xfd)) { $0 << 8 | UInt64($1) }
            guard let random = IPPrefix(.v6(IPv6Address(high: bits << 16, low: 0)), length: 48) else {
                throw .option("--prefix: a /48 of fd00::/8 is needed")
            }
            return random
        }
        guard let parsed = IPPrefix(prefix), parsed.address.isIPv6, parsed.length == 48,
            parsed.address.bytes[0] == 0xfd
        else { throw .option("--prefix \(prefix): a /48 of fd00::/8 is needed, as fd12:3456:789a::/48") }
        return parsed
    }
}
