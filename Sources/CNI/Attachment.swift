import Addressing
import Glibc

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

    private var holder: Store.Holder { Store.Holder(containerID: invocation.containerID, ifName: invocation.ifName) }

    /// ADD. What fails undoes what was done before.
    package func add() throws(CNIError) -> JSONValue {
        let settings = try Settings(conf)
        let arguments = try Arguments(parsing: invocation.arguments)
        let previous = try conf.prevResult.map { (json) throws(CNIError) in try Result(previous: json) }
        var result = previous ?? Result()
        // In a chain, CNI_ARGS reach every plugin: an address that the primary took up is not meant for us.
        let requested = try conf.requestedAddresses(arguments).filter { address in
            !result.addresses.contains { $0.prefix.address == address }
        }
        let namespace = try openNamespace()
        let path = namespace.path
        let addresses = try reserve(requested, settings)
        let interface = PodInterface(settings: settings, addresses: addresses, underlay: underlay(in: result))
        let mtu: UInt32
        do throws(CNIError) {
            try namespace.joinUserNamespace()
            mtu = try namespace.run { () throws(CNIError) in try interface.create() }
        } catch {
            try? free()
            throw error
        }
        result.append(
            interface: settings.interface, sandbox: path, mtu: mtu, addresses: interface.addresses,
            routes: settings.routes)
        return result.json(version: version)
    }

    /// CHECK.
    package func check() throws(CNIError) {
        let settings = try Settings(conf)
        guard let json = conf.prevResult else {
            throw .invalidConfiguration("read prevResult: missing, CHECK needs it")
        }
        let result = try Result(previous: json)
        let namespace = try openNamespace()
        let path = namespace.path
        let subject = "check \(settings.interface)"
        guard let index = result.interfaces.firstIndex(where: { $0.name == settings.interface && $0.sandbox == path })
        else { throw .checkFailed("\(subject): prevResult has no such interface in \(path)") }
        let reported = result.addresses.filter { $0.interface == index }.map(\.prefix)
        let recorded = try recordedAddresses(settings)
        guard Set(reported) == Set(recorded.map { IPPrefix(host: $0) }) else {
            throw .checkFailed(
                "\(subject): prevResult has \(Self.list(reported)), the store has \(Self.list(recorded))")
        }
        let interface = PodInterface(settings: settings, addresses: recorded, underlay: underlay(in: result))
        try namespace.joinUserNamespace()
        try namespace.run { () throws(CNIError) in try interface.check() }
    }

    /// DEL: removes whatever is left, and never fails for what is not there. An error of ours would stop the chain and
    /// leak the primary plugin's address, so what can't be removed is only reported.
    ///
    /// - Returns: what could not be done, for stderr.
    package func delete() throws(CNIError) -> [String] {
        let name = try conf.interfaceName()
        let storePath = try conf.storePath()
        let holder = holder
        var faults: [String] = []
        func attempt(_ body: () throws(CNIError) -> Void) {
            do throws(CNIError) { try body() } catch { faults.append(error.message) }
        }
        if let path = invocation.netns, unsafe access(path, F_OK) == 0 {
            attempt { () throws(CNIError) in
                let namespace = try PodNamespace(path: path)
                if namespace.isOwn && !invocation.mayTouchOwnNamespace {
                    throw .invalidNamespace("delete \(name): \(path) is the plugin's own namespace, left alone")
                }
                try namespace.run { () throws(CNIError) in
                    try PodInterface.remove(named: name) { (addresses) throws(CNIError) in
                        // A failed ADD of another container is followed by its DEL: that must not take this one's.
                        guard let store = try Store(existing: storePath) else { return true }
                        return addresses.allSatisfy { (store.holder(of: $0) ?? holder) == holder }
                    }
                }
            }
        }
        attempt { () throws(CNIError) in try free() }
        return faults
    }

    private func free() throws(CNIError) {
        if let store = try Store(existing: conf.storePath()) { try store.release(holder) }
    }

    // The lock is held only inside these two.

    private func reserve(_ requested: [IPAddress], _ settings: Settings) throws(CNIError) -> [IPAddress] {
        let store = try Store(creating: settings.storePath)
        return try settings.plan.allocate(
            requested: requested, network: settings.network, holder: holder, in: store)
    }

    private func recordedAddresses(_ settings: Settings) throws(CNIError) -> [IPAddress] {
        guard let store = try Store(existing: settings.storePath) else { return [] }
        return try store.addresses(of: holder)
    }

    private func openNamespace() throws(CNIError) -> PodNamespace {
        let path = invocation.netns ?? ""
        let namespace = try PodNamespace(path: path)
        guard !namespace.isOwn || invocation.mayTouchOwnNamespace else {
            throw .invalidNamespace("attach to \(path): it is the plugin's own network namespace")
        }
        return namespace
    }

    private func underlay(in result: Result) -> String? {
        let inside = result.interfaces.filter { $0.sandbox?.isEmpty == false && $0.name != conf.interface ?? "warren0" }
        return (inside.first { $0.name == invocation.ifName } ?? inside.first)?.name
    }

    private static func list(_ values: [some CustomStringConvertible]) -> String {
        values.isEmpty ? "none" : values.map { "\($0)" }.joined(separator: ", ")
    }
}
