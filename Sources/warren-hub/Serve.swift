import Addressing
import ArgumentParser
import Hub
import Logging
import Membership
import Sodium
import Timing

/// `warren-hub serve`: the roles, in the foreground.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serve the mesh until SIGTERM.")

    @OptionGroup var folder: FolderOption
    @Option(help: ArgumentHelp("Which roles, separated by commas.", valueName: "roles"))
    var roles = "authority,directory,relay"
    @Option(help: ArgumentHelp("The TLS port for agents and health.", valueName: "ip:port"))
    var listen = "0.0.0.0:7443"
    @Option(help: ArgumentHelp("The UDP port for relay and STUN.", valueName: "ip:port"))
    var relayListen = "0.0.0.0:3478"
    @OptionGroup var relay: RelayOptions
    @Option(
        help: ArgumentHelp(
            "Serve STUN for NAT behaviour discovery (RFC 5780): twice, with two addresses and two ports.",
            valueName: "ip:port[=public]"))
    var stunListen: [String] = []
    @OptionGroup(title: "What agents are told, in place of what the hub's folder says") var places: Places
    @OptionGroup(title: "Kubernetes") var accounts: AccountArguments
    @Flag(help: "Log more.")
    var verbose = false

    func run(until shutdown: ShutdownSignal) async throws {
        let roles = try Set(
            roles.split(separator: ",").map { name in
                guard let role = HubServer.Role(rawValue: String(name)) else {
                    throw HubError.option("--roles \(name): authority, directory and relay are the roles")
                }
                return role
            })
        var options = try relay.options(roles: roles, listen: listen, relayListen: relayListen)
        options.stun = try StunPlaces.pairs(
            stunListen.map { text in
                guard let place = StunPlaces.Place(text) else {
                    throw HubError.option("--stun-listen \(text): IP:PORT is needed, or IP:PORT=PUBLIC-IP:PORT")
                }
                return place
            })
        options.accounts = try accounts.options(HubProgram.logger(verbose: verbose))
        let (relays, servers) = (try places.relays(), try places.stunServers())
        let hub = try folder.open().telling(
            relays: relays.isEmpty ? nil : relays, stun: servers.isEmpty ? nil : servers,
            directory: try places.directory())
        try await HubProgram.serve(hub, options, verbose: verbose, until: shutdown)
    }
}

/// What a relay may be told, wherever it runs.
struct RelayOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A port without TLS for relay streams, behind an ingress that ends TLS.", valueName: "ip:port"))
    var webListen: String?
    @Option(help: ArgumentHelp("A port for metrics and health, not for agents.", valueName: "ip:port"))
    var metricsListen: String?
    @Option(help: ArgumentHelp("Bound of what is relayed by UDP, in all.", valueName: "MB/s"))
    var relayBandwidth: UInt64?
    @Option(help: ArgumentHelp("Bound of what is relayed for one agent.", valueName: "MB/s"))
    var relayAgentBandwidth: UInt64 = 250
    @Option(help: ArgumentHelp("How long agents have to go elsewhere when it ends.", valueName: "seconds"))
    var relayDrain: UInt64 = 2

    func options(
        roles: Set<HubServer.Role>, listen: String, relayListen: String
    ) throws(HubError) -> HubServer.Options {
        let listen = try endpoint(listen, "--listen")
        var options = HubServer.Options(
            roles: roles, listenHost: listen.address.description, listenPort: listen.port,
            relayListen: try endpoint(relayListen, "--relay-listen"))
        if let webListen { options.webListen = try endpoint(webListen, "--web-listen") }
        if let metricsListen { options.metricsListen = try endpoint(metricsListen, "--metrics-listen") }
        guard relayDrain <= 255 else { throw .option("--relay-drain \(relayDrain): at most 255 seconds") }
        options.relayDrain = .seconds(relayDrain)
        options.relayPace = relayBandwidth.map { min($0, 1 << 20) * 1_000_000 }
        options.relayClientRate = max(1, min(relayAgentBandwidth, 1 << 20)) * 1_000_000
        return options
    }

    private func endpoint(_ text: String, _ option: String) throws(HubError) -> Endpoint {
        guard let endpoint = Endpoint(text) else { throw .option("\(option) \(text): IP:PORT is needed") }
        return endpoint
    }
}

/// The foreground process of `serve` and `relay`.
enum HubProgram {
    static func logger(verbose: Bool) -> Logger {
        var logger = Logger(label: "warren-hub") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = verbose ? .debug : .info
        return logger
    }

    static func serve(
        _ folder: HubFolder, _ options: HubServer.Options, verbose: Bool, until shutdown: ShutdownSignal
    ) async throws {
        try Libsodium.initialize()
        let logger = logger(verbose: verbose)
        let server = try await HubServer(folder, options, logger: logger)
        try await withThrowingTaskGroup(of: Int32?.self) { group in
            group.addTask {
                try await server.run()
                return nil
            }
            group.addTask { await shutdown.wait() }
            let signal = try await group.next()
            if case .some(.some(let number)) = signal { logger.info("ending on signal \(number)") }
            group.cancelAll()
            while try await group.next() != nil {}
        }
    }
}
