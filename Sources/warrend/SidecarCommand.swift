import Addressing
import DNS
import Glibc
import Linux
import Logging
import Membership
import Sidecar
import Timing

/// `warrend sidecar`: joins the mesh and carries this pod's packets. Each option can come from the environment, as
/// WARREN_ and the option's name.
enum SidecarCommand {
    static let usage = Arguments.Usage(
        command: "warrend sidecar", overview: "Join the mesh and carry this pod's packets, with no privilege at all.",
        operands: [],
        options: [
            option(
                "token-file", "FILE", fallback: "/run/warren/token",
                help: "A file with the join token. Needed once; a restart with the same state folder does without it."),
            option(
                "service-account-token", "FILE",
                help: """
                    In place of a join token: a token of the pod's service account, projected for the hub's audience and \
                    renewed by the kubelet. The agent's name is then POD.NAMESPACE. Needs --hub or --hub-file.
                    """),
            option("hub", "TEXT", help: "With it: how the hub is found, as `warren-hub advertise --public` prints it."),
            option("hub-file", "FILE", help: "A file with that text."),
            option("name", "NAME", help: "This agent's name; by default what the token's pattern gives."),
            option(
                "state-dir", "FOLDER", fallback: "/run/warren/state",
                help: "A 0700 folder of this user, on tmpfs: the identity key lives there."),
            option("interface", "NAME", fallback: "warren0", help: "The TUN interface that warren-cni made."),
            option(
                "address", "PREFIX",
                help: """
                    Where no plugin makes the interface: an address for one of our own, with the mesh's prefix length. \
                    May be repeated. Needs NET_ADMIN and /dev/net/tun.
                    """),
            option(
                "control", "PATH", fallback: "/run/warren/control.sock", help: "The socket of the local API."),
            option("port", "PORT", fallback: "0", help: "The UDP port to use; 0 for any."),
            option(
                "dns-domain", "DOMAIN", help: "The mesh's domain; by default the mesh's name and .warren.internal."),
            option(
                "dns-upstream", "ADDRESS[:PORT]",
                help: """
                    A name server for all other names, in order of preference. May be repeated, at most 3; by default \
                    those in /etc/resolv.conf.
                    """),
            option(
                "service", "NAME/TRANSPORT/PORT",
                help: "A port that the pod serves, as http/tcp/8080, for SRV records. May be repeated, at most 8."),
            option(
                "require", "PEER",
                help: "A peer whose handshake must be verified before this agent is ready. May be repeated."),
            option(
                "drain", "SECONDS", fallback: "25",
                help: """
                    How long SIGTERM waits at most for the connections through the mesh to end. Nobody new is led here \
                    meanwhile; a second SIGTERM, or SIGINT, ends at once.
                    """),
            option(
                "metrics-listen", "IP:PORT",
                help: "Serve /metrics, /livez and /readyz there by HTTP, but not to the mesh; [::] is all addresses."),
            option(
                "metrics-peers", "NUMBER", fallback: "0",
                help: "Tell metrics of so many peers by name, those used last; at most 4096."),
            option(
                "log-level", "LEVEL", fallback: "info",
                help: "trace, debug, info, notice, warning, error or critical."),
        ])

    static func configuration(
        _ arguments: Arguments
    ) throws(Arguments.Failure) -> (sidecar: SidecarConfiguration, level: Logger.Level) {
        guard let level = Logger.Level(rawValue: arguments.value("log-level")) else {
            throw arguments.failure("--log-level \(arguments.value("log-level")): not a level")
        }
        guard let port = UInt16(arguments.value("port")) else {
            throw arguments.failure("--port \(arguments.value("port")): not a port")
        }
        let addresses = try arguments.list("address").map { (text) throws(Arguments.Failure) in
            guard text.contains("/"), let prefix = IPPrefix(text) else {
                throw arguments.failure("--address \(text): not an address with a prefix length")
            }
            return prefix
        }
        let account = try account(arguments)
        let upstreams = try arguments.list("dns-upstream").map { (text) throws(Arguments.Failure) in
            guard let endpoint = ServerList.endpoint(text) else {
                throw arguments.failure("--dns-upstream \(text): not an address, with a port or without")
            }
            return endpoint
        }
        guard upstreams.count <= ServerList.limit else {
            throw arguments.failure("--dns-upstream: at most \(ServerList.limit)")
        }
        let services = try arguments.list("service").map { (text) throws(Arguments.Failure) in
            guard let service = AgentService(text) else {
                throw arguments.failure("--service \(text): not NAME/TRANSPORT/PORT, as http/tcp/8080")
            }
            return service
        }
        guard services.count <= AgentService.limit else {
            throw arguments.failure("--service: at most \(AgentService.limit)")
        }
        let domain = arguments.value("dns-domain")
        guard domain.isEmpty || DomainName(domain).map({ $0 != .root }) ?? false else {
            throw arguments.failure("--dns-domain \(domain): not a domain")
        }
        guard let drain = UInt64(arguments.value("drain")), drain <= 86400 else {
            throw arguments.failure("--drain \(arguments.value("drain")): not a number of seconds up to 86400")
        }
        var metrics: Endpoint?
        if !arguments.value("metrics-listen").isEmpty {
            metrics = Endpoint(arguments.value("metrics-listen"))
            guard metrics != nil else {
                throw arguments.failure("--metrics-listen \(arguments.value("metrics-listen")): IP:PORT is needed")
            }
        }
        guard let metricsPeers = Int(arguments.value("metrics-peers")), (0...4096).contains(metricsPeers) else {
            throw arguments.failure("--metrics-peers \(arguments.value("metrics-peers")): not a number up to 4096")
        }
        let sidecar = SidecarConfiguration(
            tokenFile: arguments.value("token-file"), name: arguments.value("name"),
            stateFolder: arguments.value("state-dir"), interface: arguments.value("interface"),
            controlSocket: arguments.value("control"), port: port, requiredPeers: arguments.list("require"),
            ownAddresses: addresses, account: account, domain: domain, upstreams: upstreams, services: services,
            drain: .seconds(drain),
            metricsListen: metrics, metricsPeers: metricsPeers)
        return (sidecar, level)
    }

    private static func account(
        _ arguments: Arguments
    ) throws(Arguments.Failure) -> SidecarConfiguration.Account? {
        let (file, hubFile) = (arguments.value("service-account-token"), arguments.value("hub-file"))
        var text = arguments.value("hub")
        guard !file.isEmpty else {
            guard text.isEmpty, hubFile.isEmpty else {
                throw arguments.failure(
                    "--hub and --hub-file go with --service-account-token; a join token names its hub")
            }
            return nil
        }
        guard text.isEmpty != hubFile.isEmpty else {
            throw arguments.failure("--service-account-token: either --hub or --hub-file is needed")
        }
        guard arguments.value("name").isEmpty else {
            throw arguments.failure("--name: an agent that joins by its service account is called POD.NAMESPACE")
        }
        if !hubFile.isEmpty {
            do {
                text = String(
                    decoding: try FileDescriptor(open: hubFile, O_RDONLY | O_NONBLOCK).readToEnd(limit: 4096),
                    as: UTF8.self)
            } catch { throw arguments.failure("--hub-file: \(error)") }
        }
        do { return SidecarConfiguration.Account(tokenFile: file, hub: try HubReference(text)) } catch {
            throw arguments.failure("--hub: \(error); take what `warren-hub advertise --public` prints")
        }
    }

    /// The exit status, once it has ended.
    @concurrent static func run(_ configuration: SidecarConfiguration, _ level: Logger.Level) async -> Int32 {
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        var logger = Logger(label: "warrend")
        logger.logLevel = level
        do {
            try await Sidecar.Agent(configuration, logger: logger).run()
            return 0
        } catch {
            logger.critical("\(error)")
            return (error as? SidecarError)?.exitStatus ?? 1
        }
    }

    /// With a default from the environment, so that a pod can be configured without arguments.
    private static func option(
        _ name: String, _ value: String, fallback: String = "", help: String
    ) -> Arguments.Option {
        let variable = "WARREN_" + String(name.uppercased().map { $0 == "-" ? "_" : $0 })
        let set = unsafe getenv(variable).map { unsafe String(cString: $0) }
        return Arguments.Option(name, value, fallback: set ?? fallback, help: help)
    }
}
