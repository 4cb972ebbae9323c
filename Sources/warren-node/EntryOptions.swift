import Addressing
import ArgumentParser
import BlockLeasing
import Glibc
import Linux
import Membership
import NodeAgent
import Timing

/// What the plugin is told in the conflist.
struct EntryOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The mesh's IPv6 /48; with a lease the hub tells it.", valueName: "prefix"))
    var mesh: String?
    @Option(help: ArgumentHelp("This node's number in the mesh, where none is leased.", valueName: "number"))
    var node: UInt16?
    @Option(
        help: ArgumentHelp(
            "This node's block of the mesh's IPv4 addresses, where none is leased.", valueName: "prefix"))
    var ipv4Block: String?
    @Option(
        help: ArgumentHelp(
            "What goes into the mesh, where it is more than mesh and block. May be repeated.", valueName: "prefix"))
    var route: [String] = []
    @Option(help: ArgumentHelp("The uid that sidecars run as, and nothing else.", valueName: "uid"))
    var ownerUid: UInt32 = 64738
    @Option(help: ArgumentHelp("Which pods: those with an annotation, or all.", valueName: "annotation|all"))
    var optIn = "annotation"
    @Flag(help: "Pods wait for this agent at their start; without, they start and their sidecars wait for it.")
    var agentRequired = false
    @Option(help: ArgumentHelp("A JSON object with further keys for the plugin's entry.", valueName: "file"))
    var pluginConf: String?

    /// Whether the administrator has given this node its addresses.
    var isFixed: Bool { node != nil }

    mutating func validate() throws {
        if let mesh = try meshPrefix(), !mesh.address.isIPv6 || mesh.length != 48 {
            throw ValidationError("--mesh \(mesh): an IPv6 /48 is needed")
        }
        guard ownerUid != 0 else { throw ValidationError("--owner-uid 0: that is root; reserve another uid") }
        if let block = try block(), block.address.isIPv6 { throw ValidationError("--ipv4-block \(block): not IPv4") }
        guard ["annotation", "all"].contains(optIn) else {
            throw ValidationError("--opt-in \(optIn): neither annotation nor all")
        }
        _ = try routes()
    }

    /// The entry for the number and block that the options give.
    func fixedEntry(stateFolder: String) throws -> PluginEntry {
        guard let mesh = try meshPrefix(), let node else {
            throw ValidationError("--mesh and --node are needed, or --token-file to lease a block from the hub")
        }
        return try entry(mesh: mesh.masked, node: node, ipv4Block: try block()?.masked, stateFolder: stateFolder)
    }

    /// The entry for a block that the hub has leased; its numbers are exchanged with each other block.
    func leasedEntry(_ held: HeldBlock, stateFolder: String) throws -> PluginEntry {
        guard let mesh = held.mesh else { throw ValidationError("\(held.block.ipv6): not a block of a mesh") }
        if let wanted = try meshPrefix()?.masked, wanted != mesh {
            throw ValidationError("--mesh \(wanted): the hub's mesh is \(mesh)")
        }
        return try entry(mesh: mesh, node: held.block.number, ipv4Block: nil, stateFolder: stateFolder)
            .leased(held: held)
    }

    private func entry(
        mesh: IPPrefix, node: UInt16, ipv4Block: IPPrefix?, stateFolder: String
    ) throws -> PluginEntry {
        var entry = PluginEntry(
            mesh: mesh, node: node, ipv4Block: ipv4Block, routes: try routes(), ownerUid: ownerUid,
            annotatedOnly: optIn == "annotation", stateFolder: stateFolder, agentRequired: agentRequired)
        if let pluginConf {
            let bytes = try FileDescriptor(open: pluginConf, O_RDONLY).readToEnd(limit: 65536)
            guard entry.add(bytes) else {
                throw ValidationError("--plugin-conf \(pluginConf): not a JSON object of keys that no option sets")
            }
        }
        return entry
    }

    private func meshPrefix() throws -> IPPrefix? { try mesh.map { try prefix($0, "mesh") } }
    private func block() throws -> IPPrefix? { try ipv4Block.map { try prefix($0, "ipv4-block") } }
    private func routes() throws -> [IPPrefix] { try route.map { try prefix($0, "route").masked } }

    private func prefix(_ text: String, _ option: String) throws -> IPPrefix {
        guard text.contains("/"), let prefix = IPPrefix(text) else {
            throw ValidationError("--\(option) \(text): not a network in CIDR form")
        }
        return prefix
    }
}

extension PluginEntry {
    /// The same for another lease.
    func leased(held: HeldBlock) -> PluginEntry {
        var entry = self
        entry.node = held.block.number
        entry.ipv4Block = held.block.ipv4
        entry.leaseEnds = held.expires.seconds
        if let mesh = held.mesh { entry.mesh = mesh }
        return entry
    }
}
