import Addressing
import ArgumentParser
import Hub
import Logging
import Membership
import Sodium

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
    @Option(
        help: ArgumentHelp(
            "Serve STUN for NAT behaviour discovery (RFC 5780): twice, with two addresses and two ports.",
            valueName: "ip:port[=public]"))
    var stunListen: [String] = []
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
        guard let listen = Endpoint(listen) else { throw HubError.option("--listen \(listen): IP:PORT is needed") }
        guard let relayListen = Endpoint(relayListen) else {
            throw HubError.option("--relay-listen \(relayListen): IP:PORT is needed")
        }
        let stun = try stunListen.map { text in
            guard let place = StunPlaces.Place(text) else {
                throw HubError.option("--stun-listen \(text): IP:PORT is needed, or IP:PORT=PUBLIC-IP:PORT")
            }
            return place
        }
        try Libsodium.initialize()
        var logger = Logger(label: "warren-hub") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = verbose ? .debug : .info

        var options = HubServer.Options(
            roles: roles, listenHost: listen.address.description, listenPort: listen.port, relayListen: relayListen)
        options.stun = try StunPlaces.pairs(stun)
        let server = try await HubServer(folder.open(), options, logger: logger)
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
