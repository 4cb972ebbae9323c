import Addressing
import Glibc
import Linux

/// One pod's attachment to the network: what ADD makes, CHECK verifies and DEL removes, named by (container id, ifname).
package struct Attachment: Sendable {
    package let invocation: Invocation
    package let conf: NetConf
    package let version: CNIVersion

    package init(_ invocation: Invocation, _ conf: NetConf, version: CNIVersion) {
        self.invocation = invocation
        self.conf = conf
        self.version = version
    }

    var holder: Store.Holder { Store.Holder(containerID: invocation.containerID, ifName: invocation.ifName) }

    /// ADD. What fails undoes what was done before.
    package func add() throws(CNIError) -> JSONValue {
        let arguments = try Arguments(parsing: invocation.arguments)
        let previous = try conf.prevResult.map { (json) throws(CNIError) in try Result(previous: json) }
        guard try conf.isOptedIn() else {
            guard let previous else {
                throw .invalidConfiguration("pass the previous result on: there is none, and the pod did not opt in")
            }
            return previous.json(version: version)
        }
        let settings = try Settings(conf)
        if let fault = conf.leaseFault(now: Int64(time(nil))) { throw .tryAgainLater(fault) }
        try waitForAgent(settings)
        try refuseOverlaps(settings, previous)
        let namespace = try openNamespace()
        let owner = try namespace.hostUid(of: settings.owner)
        try refuseSecond(settings)
        let ipam = delegate(settings)
        let leased = try ipam?.add()
        do throws(CNIError) {
            let record = try attach(
                settings, owner: owner, netns: namespace.identity, arguments, previous, leased: leased)
            do throws(CNIError) {
                var interface = PodInterface(
                    settings: settings, owner: owner, addresses: record.addresses,
                    routes: Self.routes(settings, leased), underlay: underlay(in: previous))
                if namespace.isOwn { interface.resolver = [] }
                interface.nodePort = try assignNodePort(record, settings, previous: previous)
                let mtu = try namespace.run { () throws(CNIError) in try interface.create() }
                try tellAgent(of: record, settings)
                var result = previous ?? Result(dns: leased?.dns)
                result.append(
                    interface: settings.interface, sandbox: namespace.path, mtu: mtu, addresses: record.addresses,
                    routes: interface.routes)
                return result.json(version: version)
            } catch {
                try? releaseNodePort()
                try? free(settings.location)
                throw error
            }
        } catch {
            try? ipam?.delete()
            throw error
        }
    }

    private func waitForAgent(_ settings: Settings) throws(CNIError) {
        guard let agent = settings.agent, agent.isRequired else { return }
        do throws(SystemError) { try agent.probe() } catch {
            throw .tryAgainLater("attach \(holder): the node's agent does not answer: \(error)")
        }
    }

    /// The last step, so that what the agent finds is complete. Where it is required and says no, the interface goes again.
    private func tellAgent(of record: AttachmentRecord, _ settings: Settings) throws(CNIError) {
        do throws(CNIError) {
            if let note = try settings.agent?.tell(record) { writeErrorLine(note) }
        } catch {
            try? Self.removeInterface(of: record, mayTouchOwnNamespace: invocation.mayTouchOwnNamespace)
            throw error
        }
    }

    /// Before a delegated plugin is asked, whose undoing would take the first attachment's addresses.
    private func refuseSecond(_ settings: Settings) throws(CNIError) {
        let folder = AttachmentFolder(dataDir: settings.location.dataDir)
        if let record = try folder.record(of: holder, in: settings.network) { throw alreadyAttached(record) }
    }

    private func alreadyAttached(_ record: AttachmentRecord) -> CNIError {
        let list = Self.list(record.addresses.map(\.address))
        return .alreadyAttached("attach \(holder) to \(record.network): it holds \(list) already")
    }

    /// Chooses addresses and puts them on record: the one thing that is done under the store's lock.
    private func attach(
        _ settings: Settings, owner: UInt32, netns: AttachmentRecord.Netns, _ arguments: Arguments,
        _ previous: Result?, leased: Result?
    ) throws(CNIError) -> AttachmentRecord {
        let store = try Store(creating: settings.location)
        if let other = try store.record(of: holder) { throw alreadyAttached(other) }
        var record = AttachmentRecord(
            network: settings.network, holder: holder, netns: netns, interface: settings.interface, ownerUid: owner,
            addresses: leased?.addresses.map(\.prefix) ?? [], pod: arguments.pod, created: Int64(time(nil)))
        if case .own(let plan) = settings.addressing {
            // In a chain, CNI_ARGS reach every plugin: an address that the primary took up is not meant for us.
            let requested = try conf.requestedAddresses(arguments).filter { address in
                !(previous?.addresses ?? []).contains { $0.prefix.address == address }
            }
            let identity = AddressIdentity(
                network: settings.network, containerID: holder.containerID, pod: arguments.pod)
            record.addresses = try plan.choose(requested: requested, identity: identity, holder: holder, in: store)
                .map { IPPrefix(host: $0) }
        }
        try store.attach(record, reserving: leased == nil)
        return record
    }

    func free(_ location: StoreLocation) throws(CNIError) {
        if let store = try Store(existing: location) { try store.detach(holder) }
    }

    func delegate(_ settings: Settings) -> DelegatedIPAM? {
        guard case .delegated(let type) = settings.addressing else { return nil }
        return DelegatedIPAM(type: type, invocation, conf)
    }

    func openNamespace() throws(CNIError) -> PodNamespace {
        let path = invocation.netns ?? ""
        let namespace = try PodNamespace(path: path)
        guard !namespace.isOwn || invocation.mayTouchOwnNamespace else {
            throw .invalidNamespace("attach to \(path): it is the plugin's own network namespace")
        }
        return namespace
    }

    func underlay(in result: Result?) -> String? {
        let ours = conf.interface ?? "warren0"
        let inside = (result?.interfaces ?? []).filter { $0.sandbox?.isEmpty == false && $0.name != ours }
        return (inside.first { $0.name == invocation.ifName } ?? inside.first)?.name
    }

    /// The configured routes, and those that a delegated plugin brought along. A TUN has no gateway.
    static func routes(_ settings: Settings, _ leased: Result?) -> [IPPrefix] {
        settings.routes + (leased?.destinations ?? []).filter { !settings.routes.contains($0) }
    }

    static func list(_ values: [some CustomStringConvertible]) -> String {
        values.isEmpty ? "none" : values.map { "\($0)" }.joined(separator: ", ")
    }
}
