import Addressing
import ArgumentParser
import Hub
import Membership
import Sodium

/// `warren-hub advertise`: what agents are told when they join.
struct Advertise: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show this hub's keys' public parts, and change where its agents find relays, STUN and directory.",
        discussion: "What no option names stays as it is. A hub that serves tells it from its next start.")

    @OptionGroup var folder: FolderOption
    @OptionGroup var places: Places
    @Flag(
        name: .customLong("public"),
        help: "Print only what agents need to find this hub, for those that join by a service account; it is no secret."
    )
    var isPublic = false

    mutating func run() async throws {
        try Libsodium.initialize()
        let (relays, stun) = (try places.relays(), try places.stunServers())
        let hub = try folder.open().advertise(
            relays: relays.isEmpty ? nil : relays, stun: stun.isEmpty ? nil : stun, directory: try places.directory())
        if isPublic { return print(try hub.reference().text) }
        print("mesh \(hub.configuration.mesh) in \(hub.path)")
        try printFacts(hub)
    }
}

/// Where agents find relays, STUN servers and the directory.
struct Places: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A relay as agents reach it: UDP, and TLS if it is another hub's (again for more).",
            valueName: "[id@]ip:port[,host:port,pin]"))
    var relay: [String] = []
    @Option(help: ArgumentHelp("A STUN server beside the relays (again for more).", valueName: "ip:port"))
    var stun: [String] = []
    @Option(name: .customLong("directory"), help: ArgumentHelp("Another hub's directory.", valueName: "host:port"))
    var directoryAddress: String?
    @Option(help: ArgumentHelp("The pin of that directory's TLS key, in base64.", valueName: "pin"))
    var directoryPin: String?

    func relays() throws(HubError) -> [HubConfiguration.AdvertisedRelay] {
        var relays: [HubConfiguration.AdvertisedRelay] = []
        for text in relay {
            guard let relay = HubConfiguration.AdvertisedRelay(text) else {
                throw .option(
                    "--relay \(text): IP:PORT is needed, or ID@IP:PORT,HOST:PORT,PIN for another's, as that one prints it"
                )
            }
            relays.append(relay)
        }
        return relays
    }

    func stunServers() throws(HubError) -> [Endpoint] {
        var servers: [Endpoint] = []
        for text in stun {
            guard let endpoint = Endpoint(text) else { throw .option("--stun \(text): IP:PORT is needed") }
            servers.append(endpoint)
        }
        return servers
    }

    func directory() throws(HubError) -> HubConfiguration.RemoteDirectory? {
        guard directoryAddress != nil || directoryPin != nil else { return nil }
        guard let address = directoryAddress.flatMap({ HubAddress($0) }), let pin = directoryPin else {
            throw .option("--directory \(directoryAddress ?? ""): HOST:PORT is needed, and --directory-pin")
        }
        return .init(address: address, pin: try key(pin, "--directory-pin"))
    }
}

/// 32 bytes from the command line.
func key(_ text: String, _ option: String) throws(HubError) -> Bytes32 {
    guard let key = Base64.decode(text).flatMap({ Bytes32($0) }) else {
        throw .option("\(option): 32 bytes in base64 are needed")
    }
    return key
}

/// What other hubs and people need to know of this one; all of it is public.
func printFacts(_ hub: HubFolder) throws(HubError) {
    let configuration = hub.configuration
    print("  TLS address    \(configuration.address)")
    print("  TLS pin        \(hub.pin.base64)")
    print("  authority key  \(configuration.authorityKey.base64)")
    print("  relay id       \(try hub.relayID())")
}
