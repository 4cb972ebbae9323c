package import Addressing

/// The configuration that ADD and CHECK act on: every value validated, every default filled in.
package struct Settings: Sendable {
    package let network: String
    package let storePath: String
    package let interface: String
    package let plan: AddressPlan
    /// The only uid that may attach to the TUN; never 0.
    package let owner: UInt32
    /// Nil: the underlay's minus `overhead`.
    package let mtu: UInt32?
    package let routes: [IPPrefix]

    /// What a relayed packet adds to the inner one: IPv6 and UDP 48, WireGuard 32, relay 20.
    package static let overhead: UInt32 = 100
    /// IPv6's least MTU (RFC 8200 5): below it the kernel takes IPv6 off the link.
    package static let leastMTU: UInt32 = 1280
    package static let defaultOwner = 64738

    package init(_ conf: NetConf) throws(CNIError) {
        if let ipam = conf.ipam, ipam != .null, ipam != .object([:]) {
            throw .unsupportedField("read ipam: warren-cni allocates addresses itself and delegates to no IPAM plugin")
        }
        network = try conf.networkName()
        storePath = try conf.storePath()
        interface = try conf.interfaceName()
        plan = try AddressPlan(conf)
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
        if let destinations = conf.routes {
            var routes: [IPPrefix] = []
            for destination in destinations {
                guard let route = IPPrefix(destination.dst) else {
                    throw .invalidConfiguration("read routes: \(destination.dst) is not a prefix")
                }
                if !routes.contains(route.masked) { routes.append(route.masked) }
            }
            self.routes = routes
        } else {
            routes = [plan.mesh.masked] + (plan.range.map { [$0.network] } ?? [])
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
