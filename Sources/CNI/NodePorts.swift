import Addressing
import Netlink
package import NodePorts

/// Which pods get a port of the node, and which ports there are: `nodePorts` of the configuration.
///
///     "nodePorts": {"range": "28000-29999", "namespaces": ["agents"], "port": 51820, "except": ["10.0.0.0/8"]}
package struct NodePortPolicy: Hashable, Sendable {
    package let plan: PortPlan
    /// The Kubernetes namespaces that the administrator enabled.
    private let namespaces: Set<String>

    /// The sidecar's UDP port, where the configuration names no other: WireGuard's.
    package static let defaultPort: UInt16 = 51820

    /// - Parameter json: the value of `nodePorts`.
    package init(_ json: JSONValue) throws(CNIError) {
        func fault(_ text: String) -> CNIError { .invalidConfiguration("read nodePorts: \(text)") }
        func list(_ key: String) throws(CNIError) -> [String]? {
            guard let value = json[key], value != .null else { return nil }
            guard let elements = value.elements else { throw fault("\(key) is not an array") }
            var list: [String] = []
            for element in elements {
                guard let text = element.text, !text.isEmpty else { throw fault("\(key) has what is no text") }
                list.append(text)
            }
            return list
        }
        guard case .object = json else { throw fault("not an object") }
        guard let text = json["range"]?.text else { throw fault("no range") }
        let bounds = text.split(separator: "-", omittingEmptySubsequences: false)
        guard bounds.count == 2, let first = UInt16(bounds[0]), let last = UInt16(bounds[1]), first <= last else {
            throw fault("range \(text) is not FIRST-LAST")
        }
        var port = Self.defaultPort
        if let value = json["port"], value != .null {
            guard let number = value.integer.flatMap({ UInt16(exactly: $0) }) else { throw fault("port is not a port") }
            port = number
        }
        var exceptions = PortPlan.privateNetworks
        if let texts = try list("except") {
            exceptions = []
            for text in texts {
                guard let prefix = IPPrefix(text) else { throw fault("except \(text) is not a network") }
                exceptions.append(prefix)
            }
        }
        do throws(NodePortError) {
            plan = try PortPlan(range: first...last, podPort: port, exceptions: exceptions)
        } catch { throw fault(error.description) }
        namespaces = Set(try list("namespaces") ?? [])
    }

    /// Whether pods of that namespace get a port; `*` stands for all, also for those of no namespace.
    package func covers(_ namespace: String?) -> Bool {
        namespaces.contains("*") || namespace.map { namespaces.contains($0) } ?? false
    }
}

extension NetConf {
    func nodePortPolicy() throws(CNIError) -> NodePortPolicy? {
        try nodePorts.map { (json) throws(CNIError) in try NodePortPolicy(json) }
    }

    func portMap() throws(CNIError) -> PortMap { PortMap(dataDir: try storeLocation().dataDir) }
}

extension PortMap {
    /// One for all networks of the node, for they share its ports.
    package init(dataDir: String) { self.init(folder: "\(dataDir)/node-ports") }
}

extension CNIError {
    fileprivate init(_ error: NodePortError) {
        self =
            switch error {
            case .invalid(let text): .invalidConfiguration(text)
            case .store(let text): .inputOutput(text)
            case .exhausted(let text): .rangeExhausted(text)
            case .kernel(let error): .kernel(error.description)
            }
    }
}

extension Attachment {
    private func portHolder() throws(CNIError) -> PortHolder { PortHolder(holder, in: try conf.networkName()) }

    /// Gives the pod a port of the node, where the configuration has one for its namespace and the primary plugin gave it
    /// an IPv4 address, and puts it on record. In the plugin's own network namespace, which is the node's.
    ///
    /// - Returns: what the pod is told; nil when it gets none.
    func assignNodePort(
        _ record: AttachmentRecord, _ settings: Settings, previous: Result?
    ) throws(CNIError) -> NodePortHint? {
        guard let policy = try conf.nodePortPolicy(), policy.covers(record.pod?.namespace),
            let pod = primaryIPv4(in: previous)
        else { return nil }
        let (holder, map) = (try portHolder(), try conf.portMap())
        let port: NodePort
        do throws(NodePortError) { port = try map.assign(to: pod, holder: holder, plan: policy.plan) } catch {
            throw CNIError(error)
        }
        StaleFlows.forgetAfterExit(port, mappedBy: policy.plan, folder: map.folder)
        var record = record
        record.nodePort = port.number
        if let store = try Store(existing: settings.location) { try store.write(record) }
        return NodePortHint(nodePort: port.number, podPort: port.podPort)
    }

    /// Takes the port away again, if there is one, whatever the configuration says now.
    ///
    /// - Parameter number: the port, as far as it is known.
    func releaseNodePort(_ number: UInt16? = nil) throws(CNIError) {
        let (holder, map) = (try portHolder(), try conf.portMap())
        do throws(NodePortError) {
            _ = try map.release(holder, number: number) { socket in
                StaleFlows.forgetAfterExit(folder: map.folder, keeping: socket)
            }
        } catch { throw CNIError(error) }
    }

    /// The pod's own address: of the interface that the runtime asked for, else of any inside.
    private func primaryIPv4(in result: Result?) -> IPv4Address? {
        guard let result else { return nil }
        let inside = result.addresses.filter { address in
            address.interface.map { result.interfaces[$0].sandbox?.isEmpty == false } ?? true
        }
        let primary = inside.filter { $0.interface.map { result.interfaces[$0].name } == invocation.ifName }
        for address in primary + inside {
            if case .v4(let v4) = address.prefix.address { return v4 }
        }
        return nil
    }
}

extension Network {
    /// Frees the node ports of attachments that are not listed, and maps the others again where somebody has emptied the
    /// kernel's rules.
    func collectNodePorts(keeping valid: Set<Store.Holder>) throws(CNIError) {
        let (network, map) = (try conf.networkName(), try conf.portMap())
        let plan = (try? conf.nodePortPolicy())?.plan
        do throws(NodePortError) {
            try map.collectGarbage(
                in: network, keeping: Set(valid.map { PortHolder($0, in: network) }), plan: plan)
            if StaleFlows.isDue(in: map.folder) { StaleFlows.forgetAfterExit(folder: map.folder) }
        } catch { throw CNIError(error) }
    }
}

extension AttachmentRecord {
    /// For a long-lived agent of the node, in the node's network namespace.
    func releaseNodePort(dataDir: String) throws(CNIError) {
        do throws(NodePortError) {
            _ = try PortMap(dataDir: dataDir).release(PortHolder(holder, in: network), number: nodePort)
        } catch { throw CNIError(error) }
    }
}

extension Reconciler {
    /// Makes conntrack forget what ports were released, also by plugins that were killed before they could.
    func forgetFlows() throws(CNIError) {
        do throws(NodePortError) { try StaleFlows.forgetReleased(folder: PortMap(dataDir: dataDir).folder) } catch {
            throw CNIError(error)
        }
    }
}

extension PortHolder {
    fileprivate init(_ holder: Store.Holder, in network: String) {
        self.init(network: network, containerID: holder.containerID, ifName: holder.ifName)
    }
}
