import Addressing
import ArgumentParser
import Hub
import Membership
import Sodium

/// `warren-hub init`: makes the hub's folder and keys.
struct Init: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a hub: its folder, keys and certificate.")

    @OptionGroup var folder: FolderOption
    @Option(help: "The mesh's name: 1 to 63 lower-case letters, digits, '-' and '.'.")
    var mesh: String
    @Option(help: ArgumentHelp("The mesh's IPv6 addresses, a /48 of fd00::/8.", valueName: "fdxx:xxxx:xxxx::/48"))
    var prefix: String
    @Option(
        name: .customLong("ipv4-range"), help: ArgumentHelp("The mesh's IPv4 addresses, if any.", valueName: "cidr"))
    var ipv4Range: String?
    @Option(help: ArgumentHelp("This hub's TLS address, as agents reach it.", valueName: "host:port"))
    var address: String
    @OptionGroup var places: Places
    @Option(help: ArgumentHelp("Another hub's authority key, in base64: this hub gets none.", valueName: "key"))
    var authorityKey: String?

    mutating func run() async throws {
        guard let prefix = IPPrefix(prefix), prefix.address.isIPv6, prefix.length == 48, prefix.address.bytes[0] == 0xfd
        else { throw HubError.option("--prefix \(prefix): a /48 of fd00::/8 is needed, as fd12:3456:789a::/48") }
        var ranges = [prefix]
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
        try Libsodium.initialize()
        let (made, isNew) = try HubFolder.create(folder.dir, options)
        let configuration = made.configuration
        print(
            isNew
                ? "made a hub for mesh \(configuration.mesh) in \(made.path)"
                : "\(made.path) is a hub for mesh \(configuration.mesh) already: nothing was changed")
        try printFacts(made)
    }
}
