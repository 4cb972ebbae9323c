package import Addressing

/// The network configuration from stdin, decoded but not yet judged: DEL and VERSION must accept what ADD refuses.
///
/// The keys are documented in `cni/README.md`. Unknown keys are ignored, as everywhere in CNI.
package struct NetConf: Sendable {
    package let cniVersion: String?
    package let name: String?
    package let mesh: String?
    package let node: Int64?
    package let ipv4Range: String?
    package let rangeStart: String?
    package let rangeEnd: String?
    package let ownerUid: Int64?
    package let interface: String?
    package let mtu: Int64?
    package let dataDir: String?
    /// The destinations of `routes`, each `{"dst": "10.0.0.0/8"}` as in the specification.
    package let routes: [String]?
    package let optIn: String?
    package let refuseOverlap: [String]?
    package let agent: String?
    package let agentRequired: Bool?
    /// When the lease of this node's addresses ends, in seconds since 1970; nil where they are the node's for good.
    package let leaseEnds: Int64?
    /// Whether the pod gets a resolver's addresses; it does where nothing is said.
    package let resolver: Bool?
    package let prevResult: JSONValue?
    package let runtimeConfig: JSONValue?
    package let args: JSONValue?
    package let ipam: JSONValue?
    package let nodePorts: JSONValue?
    /// What GC must leave alone; nil when the runtime gave no list.
    package let validAttachments: [Store.Holder]?
    /// The whole as it came, for a delegated plugin.
    package let text: [UInt8]

    package init(parsing bytes: [UInt8]) throws(CNIError) {
        guard let json = try? JSONValue(parsing: bytes) else { throw Self.fault("not valid JSON") }
        let members = try Members(json)
        text = bytes
        cniVersion = try members.string("cniVersion")
        name = try members.string("name")
        mesh = try members.string("mesh")
        node = try members.integer("node")
        ipv4Range = try members.string("ipv4Range")
        rangeStart = try members.string("rangeStart")
        rangeEnd = try members.string("rangeEnd")
        ownerUid = try members.integer("ownerUid")
        interface = try members.string("interface")
        mtu = try members.integer("mtu")
        dataDir = try members.string("dataDir")
        optIn = try members.string("optIn")
        agent = try members.string("agent")
        resolver = try members.boolean("resolver")
        agentRequired = try members.boolean("agentRequired")
        leaseEnds = try members.integer("leaseEnds")
        routes = try members.list("routes") { $0["dst"]?.text }
        refuseOverlap = try members.list("refuseOverlap") { $0.text }
        prevResult = members.value("prevResult")
        runtimeConfig = members.value("runtimeConfig")
        args = members.value("args")
        ipam = members.value("ipam")
        nodePorts = members.value("nodePorts")
        // The first text of 1.1.0 had the second name, and libcni sends both.
        func attachments(_ key: String) throws(CNIError) -> [Store.Holder]? {
            try members.list(key) { element in
                guard let containerID = element["containerID"]?.text, let ifName = element["ifname"]?.text else {
                    return nil
                }
                return Store.Holder(containerID: containerID, ifName: ifName)
            }
        }
        let (current, former) = (try attachments("cni.dev/valid-attachments"), try attachments("cni.dev/attachments"))
        validAttachments = current ?? former
    }

    private static func fault(_ text: String) -> CNIError { .undecodable("decode network configuration: \(text)") }

    /// The members of the top object, each of one type or null or absent.
    private struct Members {
        let members: [String: JSONValue]

        init(_ json: JSONValue) throws(CNIError) {
            guard let members = json.members else { throw NetConf.fault("not an object") }
            self.members = members
        }

        func value(_ key: String) -> JSONValue? { members[key].flatMap { $0 == .null ? nil : $0 } }

        func string(_ key: String) throws(CNIError) -> String? { try typed(key, "string") { $0.text } }
        func integer(_ key: String) throws(CNIError) -> Int64? { try typed(key, "integer") { $0.integer } }
        func boolean(_ key: String) throws(CNIError) -> Bool? { try typed(key, "boolean") { $0.boolean } }

        func list<Element>(_ key: String, _ read: (JSONValue) -> Element?) throws(CNIError) -> [Element]? {
            guard let elements = try typed(key, "array", { $0.elements }) else { return nil }
            var list: [Element] = []
            for (index, element) in elements.enumerated() {
                guard let element = read(element) else { throw NetConf.fault("\(key)[\(index)] can't be read") }
                list.append(element)
            }
            return list
        }

        private func typed<Value>(
            _ key: String, _ type: String, _ read: (JSONValue) -> Value?
        ) throws(CNIError) -> Value? {
            guard let value = value(key) else { return nil }
            guard let result = read(value) else { throw NetConf.fault("key \(key) is not of type \(type)") }
            return result
        }
    }
}

extension NetConf {
    /// The network's name, safe as a folder's name.
    package func networkName() throws(CNIError) -> String {
        guard let name, !name.isEmpty else { throw .invalidConfiguration("read name: missing network name") }
        guard Invocation.isIdentifier(name) else {
            throw .invalidConfiguration("read name \(name): invalid characters in network name")
        }
        return name
    }

    package func interfaceName() throws(CNIError) -> String {
        let name = interface ?? "warren0"
        if let fault = Invocation.interfaceNameFault(name) {
            throw .invalidConfiguration("read interface \(name): \(fault)")
        }
        return name
    }

    /// Where the network's store is.
    package func storeLocation() throws(CNIError) -> StoreLocation {
        let folder = dataDir ?? "/run/warren/cni"
        guard folder.hasPrefix("/"), !folder.utf8.contains(0) else {
            throw .invalidConfiguration("read dataDir \(folder): not an absolute path")
        }
        return StoreLocation(dataDir: folder, network: try networkName())
    }

    /// What the runtime says for a capability that the configuration declared; nil when it says nothing or null.
    /// containerd capitalises keys, so case does not count.
    package func capability(_ key: String) -> JSONValue? {
        guard let members = runtimeConfig?.members else { return nil }
        let value = members[key] ?? members.first { $0.key.lowercased() == key.lowercased() }?.value
        return value == .null ? nil : value
    }

    /// The addresses the pod asks for: the first of runtimeConfig.ips, args.cni.ips and CNI_ARGS `IP=` that has any.
    package func requestedAddresses(_ arguments: Arguments) throws(CNIError) -> [IPAddress] {
        for (source, value) in [("runtimeConfig.ips", capability("ips")), ("args.cni.ips", args?["cni"]?["ips"])] {
            guard let value, value != .null else { continue }
            guard let elements = value.elements else { throw .invalidConfiguration("read \(source): not an array") }
            var addresses: [IPAddress] = []
            for element in elements {
                guard let text = element.text, let prefix = IPPrefix(text) else {
                    throw .invalidConfiguration("read \(source): \(element.text ?? "an element") is not an address")
                }
                addresses.append(prefix.address)
            }
            if !addresses.isEmpty { return addresses }
        }
        return arguments.addresses
    }
}
