import Addressing
import ArgumentParser
import BlockLeasing
import Glibc
import Linux
import Membership
import NodeAgent
import Timing

/// The node's agent: `warren-node run` in a DaemonSet, `warren-node uninstall` in a job.
struct WarrenNode: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warren-node",
        abstract: "Install warren-cni on this node, and hand pods' TUN descriptors to their sidecars.",
        subcommands: [Run.self, Uninstall.self])
}

/// Where things are on the node.
struct PlaceOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The runtime's folder of plugins.", valueName: "folder"))
    var cniBinDir = "/opt/cni/bin"
    @Option(help: ArgumentHelp("The runtime's folder of network configurations.", valueName: "folder"))
    var cniConfDir = "/etc/cni/net.d"
    @Option(help: ArgumentHelp("A folder on tmpfs for the agent's socket and the plugin's store.", valueName: "folder"))
    var stateDir = "/run/warren"
    @Option(
        help: ArgumentHelp(
            "Where the host's paths of network namespaces are looked up: /proc/1/root in a container with hostPID.",
            valueName: "path"))
    var hostRoot = ""

    func configuration(plugin: String, entry: String) throws -> NodeConfiguration {
        for (option, path) in [("cni-bin-dir", cniBinDir), ("cni-conf-dir", cniConfDir), ("state-dir", stateDir)] {
            guard path.hasPrefix("/") else { throw ValidationError("--\(option) \(path): not an absolute path") }
        }
        return NodeConfiguration(
            plugin: plugin, binFolder: cniBinDir, confFolder: cniConfDir, stateFolder: stateDir, hostRoot: hostRoot,
            entry: entry)
    }
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Keep plugin and entry in place and serve the node's pods, until SIGTERM, which leaves everything as it is."
    )

    @OptionGroup var places: PlaceOptions
    @OptionGroup var entry: EntryOptions
    @OptionGroup var lease: LeaseOptions
    @Option(help: ArgumentHelp("The plugin to install; by default the one beside this program.", valueName: "file"))
    var plugin: String?
    @Option(
        help: ArgumentHelp(
            "The configuration to chain to; by default the first by name, as runtimes do.", valueName: "name"))
    var cniConfName: String?
    @Option(help: ArgumentHelp("Where to serve /healthz and /metrics; empty for nowhere.", valueName: "ip:port"))
    var listen = "127.0.0.1:9809"

    mutating func validate() throws {
        guard lease.isLeased != entry.isFixed else {
            throw ValidationError(
                lease.isLeased
                    ? "--node and --token-file: number and block are given or leased, not both"
                    : "--mesh and --node are needed, or --token-file to lease a block from the hub")
        }
        guard !lease.isLeased || entry.ipv4Block == nil else {
            throw ValidationError("--ipv4-block and --token-file: the block is given or leased, not both")
        }
    }

    func run() throws {
        let log = NodeLog()
        var configuration = try places.configuration(plugin: plugin ?? Self.beside("warren-cni"), entry: "{}")
        configuration.confName = cniConfName
        if !listen.isEmpty {
            guard let endpoint = Endpoint(listen) else {
                throw ValidationError("--listen \(listen): IP:PORT is needed")
            }
            configuration.listen = endpoint
        }
        let signals = try SignalFD([SIGTERM, SIGINT])
        let leasing = try lease.keeper { log($0) }.map { try Leasing($0) }
        let pluginEntry: PluginEntry
        var held: HeldBlock?
        if let leasing {
            guard let block = try leasing.begin(until: signals) else { return leasing.stop() }
            log("block \(block.block.ipv6) \(block.block.ipv4.map { "and \($0)" } ?? "without IPv4") is this node's")
            pluginEntry = try entry.leasedEntry(block, stateFolder: places.stateDir)
            held = block
        } else {
            pluginEntry = try entry.fixedEntry(stateFolder: places.stateDir)
        }
        configuration.entry = pluginEntry.json
        let failed = try EventFD()
        let ended = Ended(failed)
        let service = try NodeService(configuration, log: log)
        try service.start { ended.event.signal() }
        if let leasing, let held {
            leasing.keep(held) { service.change(entry: pluginEntry.leased(held: $0).json) }
        }
        let epoll = try Epoll()
        try epoll.add(signals.raw, .read, token: 0)
        try epoll.add(ended.event.raw, .read, token: 1)
        var events: [Epoll.Event] = []
        while events.isEmpty { events = try epoll.wait(timeout: nil) }
        leasing?.stop()
        service.stop()
        // A thread that ended by itself has said why.
        if events.contains(where: { $0.token == 1 }) { throw ExitCode.failure }
        log("ending: plugin, entry and interfaces stay")
    }

    private final class Ended: Sendable {
        let event: EventFD
        init(_ event: consuming EventFD) { self.event = event }
    }

    /// A program in the folder of this one.
    private static func beside(_ name: String) throws -> String {
        let path = try FileDescriptor.target(of: "/proc/self/exe")
        return path.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/\(name)"
    }
}

struct Uninstall: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take the entry out, and the plugin off the node when no attachment needs it any more.",
        discussion:
            "Status 75 says that the entry is out but attachments are left: run it again when their pods are gone.")

    @OptionGroup var places: PlaceOptions
    @Option(help: ArgumentHelp("How long to wait for the last attachment to go.", valueName: "seconds"))
    var wait: UInt64 = 0

    func run() throws {
        let log = NodeLog()
        let configuration = try places.configuration(plugin: "", entry: "{}")
        switch try Removal(configuration, log: log).run(patience: .seconds(min(wait, 1 << 30))) {
        case .complete: log("uninstalled")
        case .pending(let attachments):
            log("\(configuration.binFolder)/warren-cni stays: \(attachments) attachments need it for their deletion")
            throw ExitCode(EX_TEMPFAIL)
        }
    }
}
