import Addressing
import Netlink

/// What a pod's namespace has besides our interface: the calling thread's, as it is now.
struct Surroundings: Sendable {
    let links: [Link]
    let addresses: [Address]
    let routes: [Route]

    init(_ socket: inout RouteSocket) throws(CNIError) {
        do throws(NetlinkError) {
            (links, addresses, routes) = (try socket.links(), try socket.addresses(), try socket.routes())
        } catch {
            throw .kernel(error.description)
        }
    }

    /// The link that the default route leaves by, IPv4's first.
    var defaultLink: Int32? {
        routes.filter { $0.isUnicast && $0.destination.length == 0 && $0.table == 254 }
            .min { !$0.destination.address.isIPv6 && $1.destination.address.isIPv6 }?.linkIndex
    }

    /// Refuses ranges that the pod's addresses or routes lead elsewhere.
    func refuseOverlaps(_ settings: Settings) throws(CNIError) {
        func name(_ index: Int32?) -> String { links.first { $0.index == index }?.name ?? "another interface" }
        // Those of the resolver are of the mesh, and ours.
        for address in addresses where !ResolverAddress.isOne(address.prefix.address) {
            try settings.refuseOverlap(with: address.prefix, of: "the pod's \(name(address.linkIndex))")
        }
        for route in routes where route.isUnicast {
            try settings.refuseOverlap(with: route.destination, of: "the pod's route by \(name(route.linkIndex))")
        }
    }
}
