package import Addressing

/// Our entry in the primary plugin's list (`cni/README.md`, "Configuration").
package struct PluginEntry: Sendable {
    package var mesh: IPPrefix
    /// This node's number in the mesh.
    package var node: UInt16
    /// This node's block of the mesh's IPv4 addresses.
    package var ipv4Block: IPPrefix?
    /// When the lease of number and block ends, in seconds since 1970; nil where they are the node's for good.
    package var leaseEnds: Int64?
    package var routes: [IPPrefix]
    package var ownerUid: UInt32
    /// Only pods that ask for it by an annotation are attached.
    package var annotatedOnly: Bool
    package var agentSocket: String
    package var agentRequired: Bool
    package var dataDir: String
    /// Further members, as `"key": value` texts of a JSON object's inside.
    package var more: [(key: String, json: String)]

    package init(
        mesh: IPPrefix, node: UInt16, ipv4Block: IPPrefix?, routes: [IPPrefix], ownerUid: UInt32,
        annotatedOnly: Bool, stateFolder: String, agentRequired: Bool
    ) {
        self.mesh = mesh
        self.node = node
        self.ipv4Block = ipv4Block
        self.routes = routes
        self.ownerUid = ownerUid
        self.annotatedOnly = annotatedOnly
        self.agentRequired = agentRequired
        agentSocket = NodeConfiguration.agentSocket(in: stateFolder)
        dataDir = NodeConfiguration.dataFolder(in: stateFolder)
        more = []
    }

    /// Takes the members of a JSON object as further ones; false when it is none, or names one that is set already.
    package mutating func add(_ object: [UInt8]) -> Bool {
        guard let text = JSONText(object), case .object(let members) = text.root.content else { return false }
        var taken = Set(pairs.map(\.key))
        for member in members {
            guard taken.insert(member.name).inserted else { return false }
            let value = text.slice(member.value).filter { $0 != 0x0a && $0 != 0x0d }
            more.append((member.name, String(decoding: value, as: UTF8.self)))
        }
        return true
    }

    /// One line of JSON.
    package var json: String {
        "{\(pairs.map { "\(JSONText.quoted($0.key)): \($0.json)" }.joined(separator: ", "))}"
    }

    private var pairs: [(key: String, json: String)] {
        var pairs = [
            ("type", JSONText.quoted(Conflist.entryType)), ("mesh", JSONText.quoted("\(mesh)")), ("node", "\(node)"),
        ]
        if let ipv4Block { pairs.append(("ipv4Range", JSONText.quoted("\(ipv4Block)"))) }
        if let leaseEnds { pairs.append(("leaseEnds", "\(leaseEnds)")) }
        if !routes.isEmpty {
            pairs.append(
                ("routes", "[\(routes.map { "{\"dst\": \(JSONText.quoted("\($0)"))}" }.joined(separator: ", "))]"))
        }
        if annotatedOnly {
            pairs += [
                ("optIn", JSONText.quoted("annotation")),
                ("capabilities", "{\(JSONText.quoted("io.kubernetes.cri.pod-annotations")): true}"),
            ]
        }
        pairs += [
            ("ownerUid", "\(ownerUid)"), ("agent", JSONText.quoted(agentSocket)), ("agentRequired", "\(agentRequired)"),
            ("dataDir", JSONText.quoted(dataDir)),
        ]
        return pairs + more
    }
}
