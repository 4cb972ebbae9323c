package import Addressing
package import Linux

// What `ip link`, `ip address` and `ip route` do, each with its operation and subject for the error.

extension RouteSocket {
    package mutating func links() throws(NetlinkError) -> [Link] {
        try request(Link.list(), "list links").compactMap { Link($0) }
    }

    /// The link called `name`, or nil when there is none.
    package mutating func link(named name: String) throws(NetlinkError) -> Link? {
        do {
            return try request(Link.get(named: name), "find link \(name)").lazy.compactMap { Link($0) }.first
        } catch {
            if error.errno == .noDevice { return nil }
            throw error
        }
    }

    package mutating func setUp(_ link: Link) throws(NetlinkError) {
        _ = try request(link.settingUp(), "set \(link.name) up")
    }

    package mutating func set(mtu: UInt32, on link: Link) throws(NetlinkError) {
        _ = try request(link.setting(mtu: mtu), "set MTU \(mtu) on \(link.name)")
    }

    package mutating func set(maximumSegments: UInt32, on link: Link) throws(NetlinkError) {
        _ = try request(
            link.setting(maximumSegments: maximumSegments), "set gso_max_segs \(maximumSegments) on \(link.name)")
    }

    /// At most 255 bytes (IFALIASZ).
    package mutating func set(alias: String, on link: Link) throws(NetlinkError) {
        _ = try request(link.setting(alias: alias), "set alias of \(link.name)")
    }

    /// No IPv6 link-local address when the link comes up.
    package mutating func disableLinkLocalAddress(on link: Link) throws(NetlinkError) {
        _ = try request(link.withoutLinkLocalAddress(), "set IPv6 address generation none on \(link.name)")
    }

    package mutating func delete(_ link: Link) throws(NetlinkError) {
        _ = try request(link.deleting(), "delete link \(link.name)")
    }

    /// Makes a veth pair with one end here and the other in `namespace`. Both are down and without address.
    package mutating func createVeth(
        _ name: String, peer: String, in namespace: borrowing NetworkNamespace, mtu: UInt32? = nil
    ) throws(NetlinkError) {
        let message = try Link.creatingVeth(name, peer: peer, peerNamespace: namespace.raw, mtu: mtu)
        let path = namespace.path
        _ = try request(message, "create veth \(name) with peer \(peer) in \(path)")
    }

    package mutating func addresses() throws(NetlinkError) -> [Address] {
        try request(Address.list(), "list addresses").compactMap { Address($0) }
    }

    package mutating func addresses(on link: Link) throws(NetlinkError) -> [Address] {
        try addresses().filter { $0.linkIndex == link.index }
    }

    package mutating func add(_ prefix: IPPrefix, to link: Link) throws(NetlinkError) {
        let address = Address(prefix: prefix, linkIndex: link.index)
        _ = try request(address.adding(), "set address \(prefix) on \(link.name)")
    }

    package mutating func remove(_ prefix: IPPrefix, from link: Link) throws(NetlinkError) {
        let address = Address(prefix: prefix, linkIndex: link.index)
        _ = try request(address.removing(), "remove address \(prefix) of \(link.name)")
    }

    package mutating func routes() throws(NetlinkError) -> [Route] {
        try request(Route.list(), "list routes").compactMap { Route($0) }
    }

    /// Adds a route to `destination` that leaves by `link`, through `gateway` if there is one.
    package mutating func addRoute(
        to destination: IPPrefix, via gateway: IPAddress? = nil, on link: Link
    ) throws(NetlinkError) {
        let route = Route(destination: destination, gateway: gateway, linkIndex: link.index)
        let via = gateway.map { " via \($0)" } ?? ""
        _ = try request(route.adding(), "add route \(destination.masked)\(via) on \(link.name)")
    }
}
