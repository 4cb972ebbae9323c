import Addressing
import ArgumentParser
import Glibc
import Linux
import NodeAgent

/// What the plugin is told in the conflist.
struct EntryOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The mesh's IPv6 /48.", valueName: "prefix"))
    var mesh: String
    @Option(help: ArgumentHelp("This node's number in the mesh.", valueName: "number"))
    var node: UInt16
    @Option(help: ArgumentHelp("This node's block of the mesh's IPv4 addresses.", valueName: "prefix"))
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

    func json(stateFolder: String) throws -> String {
        let mesh = try prefix(mesh, "mesh")
        guard mesh.address.isIPv6, mesh.length == 48 else {
            throw ValidationError("--mesh \(mesh): an IPv6 /48 is needed")
        }
        guard ownerUid != 0 else { throw ValidationError("--owner-uid 0: that is root; reserve another uid") }
        let block = try ipv4Block.map { try prefix($0, "ipv4-block") }
        if let block, block.address.isIPv6 { throw ValidationError("--ipv4-block \(block): not IPv4") }
        guard ["annotation", "all"].contains(optIn) else {
            throw ValidationError("--opt-in \(optIn): neither annotation nor all")
        }
        var entry = PluginEntry(
            mesh: mesh.masked, node: node, ipv4Block: block?.masked,
            routes: try route.map { try prefix($0, "route").masked },
            ownerUid: ownerUid, annotatedOnly: optIn == "annotation", stateFolder: stateFolder,
            agentRequired: agentRequired)
        if let pluginConf {
            let bytes = try FileDescriptor(open: pluginConf, O_RDONLY).readToEnd(limit: 65536)
            guard entry.add(bytes) else {
                throw ValidationError("--plugin-conf \(pluginConf): not a JSON object of keys that no option sets")
            }
        }
        return entry.json
    }

    private func prefix(_ text: String, _ option: String) throws -> IPPrefix {
        guard text.contains("/"), let prefix = IPPrefix(text) else {
            throw ValidationError("--\(option) \(text): not a network in CIDR form")
        }
        return prefix
    }
}
