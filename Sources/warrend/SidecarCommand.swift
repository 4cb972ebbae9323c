import ArgumentParser
import Glibc
import Logging
import Sidecar

/// `warrend sidecar`: joins the mesh and carries this pod's packets. Each option can come from the environment, as
/// WARREN_ and the option's name.
struct SidecarCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sidecar", abstract: "Join the mesh and carry this pod's packets, with no privilege at all.")

    @Option(help: "A file with the join token. Needed once; a restart with the same state folder does without it.")
    var tokenFile: String = Environment.value("TOKEN_FILE", default: "/run/warren/token")
    @Option(help: "This agent's name; by default what the token's pattern gives.")
    var name: String = Environment.value("NAME", default: "")
    @Option(help: "A 0700 folder of this user, on tmpfs: the identity key lives there.")
    var stateDir: String = Environment.value("STATE_DIR", default: "/run/warren/state")
    @Option(help: "The TUN interface that warren-cni made.")
    var interface: String = Environment.value("INTERFACE", default: "warren0")
    @Option(help: "The socket of the local API.")
    var control: String = Environment.value("CONTROL", default: "/run/warren/control.sock")
    @Option(help: "The UDP port to use; 0 for any.")
    var port: UInt16 = UInt16(Environment.value("PORT", default: "0")) ?? 0
    @Option(help: "A peer whose handshake must be verified before this agent is ready. May be repeated.")
    var require: [String] = Environment.value("REQUIRE", default: "").split(separator: ",").map(String.init)
    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel: String = Environment.value("LOG_LEVEL", default: "info")

    func run() async throws {
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw ValidationError("--log-level \(logLevel): not a level; see --help")
        }
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        var logger = Logger(label: "warrend")
        logger.logLevel = level
        let configuration = SidecarConfiguration(
            tokenFile: tokenFile, name: name, stateFolder: stateDir, interface: interface, controlSocket: control,
            port: port, requiredPeers: require)
        do {
            try await Sidecar.Agent(configuration, logger: logger).run()
        } catch let error as SidecarError {
            logger.critical("\(error)")
            throw ExitCode(1)
        }
    }
}

/// Defaults from the environment, so that a pod can be configured without arguments.
enum Environment {
    static func value(_ name: String, default fallback: String) -> String {
        guard let value = unsafe getenv("WARREN_\(name)") else { return fallback }
        return unsafe String(cString: value)
    }
}
