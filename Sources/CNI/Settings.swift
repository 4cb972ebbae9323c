package import Addressing

/// The configuration that ADD and CHECK act on: every value validated, every default filled in.
package struct Settings: Sendable {
    package let location: StoreLocation
    package let interface: String
    package let addressing: Addressing
    /// The only uid that may attach to the TUN, as it is inside the pod; never 0.
    package let owner: UInt32
    /// Nil: the underlay's minus `overhead`.
    package let mtu: UInt32?
    package let routes: [IPPrefix]
    /// What goes into the mesh, networks without host bits: nobody else may have addresses in them.
    package let ranges: [IPPrefix]
    package let agent: NodeAgent?
    /// What the pod's resolver gets on `lo`; empty where it gets none.
    package let resolver: [IPAddress]

    /// Who gives out addresses.
    package enum Addressing: Sendable {
        case own(AddressPlan)
        /// The plugin of this type.
        case delegated(String)
    }

    package var network: String { location.network }

    package var plan: AddressPlan? {
        if case .own(let plan) = addressing { plan } else { nil }
    }

    /// What a relayed packet adds to the inner one: IPv6 and UDP 48, WireGuard 32, relay 20.
    package static let overhead: UInt32 = 100
    /// IPv6's least MTU (RFC 8200 5): below it the kernel takes IPv6 off the link.
    package static let leastMTU: UInt32 = 1280
    package static let defaultOwner: Int64 = 64738

    package init(_ conf: NetConf) throws(CNIError) {
        location = try conf.storeLocation()
        interface = try conf.interfaceName()
        let defaultRoutes: [IPPrefix]
        if let type = try conf.delegatedType() {
            guard conf.ipv4Range == nil, conf.rangeStart == nil, conf.rangeEnd == nil else {
                throw .invalidConfiguration("read ipv4Range: \(type) gives out the addresses")
            }
            addressing = .delegated(type)
            defaultRoutes = try conf.mesh.map { (text) throws(CNIError) in [try AddressPlan.mesh(text)] } ?? []
        } else {
            let plan = try AddressPlan(conf)
            addressing = .own(plan)
            defaultRoutes = [plan.mesh.masked] + (plan.range.map { [$0.network] } ?? [])
        }
        let uid = conf.ownerUid ?? Self.defaultOwner
        guard uid != 0 else { throw .invalidConfiguration("read ownerUid: 0 is root; reserve another uid") }
        guard let owner = UInt32(exactly: uid), owner != .max else {
            throw .invalidConfiguration("read ownerUid \(uid): not a uid")
        }
        self.owner = owner
        if let value = conf.mtu {
            guard let mtu = UInt32(exactly: value), (Self.leastMTU...65535).contains(mtu) else {
                throw .invalidConfiguration("read mtu \(value): outside 1280 to 65535")
            }
            self.mtu = mtu
        } else {
            mtu = nil
        }
        routes = try conf.routes.map { (texts) throws(CNIError) in try Self.networks(texts, "routes") } ?? defaultRoutes
        ranges = (defaultRoutes + routes).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
        agent = try NodeAgent(conf)
        let mesh = try conf.mesh.map { (text) throws(CNIError) in try AddressPlan.mesh(text) }
        let ipv6 = mesh.flatMap { ResolverAddress.ipv6(inMesh: $0) }.map { [IPAddress.v6($0)] } ?? []
        resolver = conf.resolver ?? true ? [.v4(ResolverAddress.ipv4)] + ipv6 : []
        for range in try Self.networks(conf.refuseOverlap ?? [], "refuseOverlap") {
            try refuseOverlap(with: range, of: "refuseOverlap")
        }
    }

    /// Prefixes as networks, each once, in their order.
    private static func networks(_ texts: [String], _ key: String) throws(CNIError) -> [IPPrefix] {
        var networks: [IPPrefix] = []
        for text in texts {
            guard let prefix = IPPrefix(text) else {
                throw .invalidConfiguration("read \(key): \(text) is not a prefix")
            }
            if !networks.contains(prefix.masked) { networks.append(prefix.masked) }
        }
        return networks
    }

    /// Throws when a range that somebody else uses and one that goes into the mesh have addresses in common: packets
    /// for one would go to the other. A default route is nobody's range.
    package func refuseOverlap(with range: IPPrefix, of whom: @autoclosure () -> String) throws(CNIError) {
        guard range.length > 0 else { return }
        for ours in ranges where ours.length > 0 && ours.overlaps(range) {
            throw .overlap("route \(ours) into \(interface): it overlaps \(range.masked) of \(whom())")
        }
    }

    /// The TUN's MTU over an underlay called `name`.
    package func mtu(over underlay: UInt32, named name: String) throws(CNIError) -> UInt32 {
        if let mtu { return mtu }
        let result = min(underlay, 65535 + Self.overhead)
        guard result >= Self.leastMTU + Self.overhead else {
            throw .invalidConfiguration(
                "set MTU of \(interface): \(name) has MTU \(underlay), which leaves less than IPv6's \(Self.leastMTU); "
                    + "set mtu in the configuration")
        }
        return result - Self.overhead
    }
}
