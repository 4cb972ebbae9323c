import Addressing
import ArgumentParser
import Directory
import Glibc
import Hub
import Membership
import Sodium

/// `warren-hub relay`: a relay by itself, which knows of its mesh no more than the authority's public key.
struct Relay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve as a relay alone until SIGTERM.",
        discussion:
            "The first start makes the folder, with keys of its own. The line that it prints is for `warren-hub "
            + "advertise` at the mesh's authority, which tells agents of it.")

    @Option(help: ArgumentHelp("The hub's folder.", valueName: "dir"))
    var dir = "/var/lib/warren-hub"
    @Option(help: "The mesh's name.")
    var mesh: String
    @Option(help: ArgumentHelp("The mesh's authority, in base64, as its hub prints it.", valueName: "key"))
    var authorityKey: String
    @Option(help: ArgumentHelp("Its UDP address, as agents reach it.", valueName: "ip:port"))
    var udp: String
    @Option(help: ArgumentHelp("Its TLS address, as agents reach it.", valueName: "host:port"))
    var tls: String
    @Option(help: ArgumentHelp("The TLS port.", valueName: "ip:port"))
    var listen = "0.0.0.0:443"
    @Option(help: ArgumentHelp("The UDP port for relay and STUN.", valueName: "ip:port"))
    var relayListen = "0.0.0.0:3478"
    @OptionGroup var relay: RelayOptions
    @Flag(help: "Log more.")
    var verbose = false

    func run(until shutdown: ShutdownSignal) async throws {
        try Libsodium.initialize()
        let key = try key(authorityKey, "--authority-key")
        guard let endpoint = Endpoint(udp), endpoint.port > 0 else {
            throw HubError.option("--udp \(udp): IP:PORT is needed")
        }
        guard let address = HubAddress(tls) else { throw HubError.option("--tls \(tls): HOST:PORT is needed") }
        var options = HubFolder.Options(
            mesh: mesh, ranges: [], address: address, relays: [.init(id: nil, endpoint: endpoint)])
        options.foreignAuthority = key
        let (made, isNew) = try HubFolder.create(dir, options)
        guard isNew || made.configuration.mesh == mesh && made.configuration.authorityKey == key else {
            throw HubError.option(
                "--dir \(dir): it belongs to mesh \(made.configuration.mesh) and authority "
                    + "\(made.configuration.authorityKey.base64); choose another folder")
        }
        let advertised = HubConfiguration.AdvertisedRelay(
            id: try made.relayID(), endpoint: endpoint, stream: .init(address: address, pin: made.pin))
        print("warren-hub advertise --relay \(advertised.text)")
        fflush(nil)
        try await HubProgram.serve(
            made, relay.options(roles: [.relay], listen: listen, relayListen: relayListen), verbose: verbose,
            until: shutdown)
    }
}
