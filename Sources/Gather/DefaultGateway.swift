package import Addressing
package import Netlink

/// The router that this host's IPv4 traffic leaves by, and our address towards it.
package struct DefaultGateway: Hashable, Sendable {
    package var gateway: IPv4Address
    package var host: IPv4Address

    package init(gateway: IPv4Address, host: IPv4Address) {
        self.gateway = gateway
        self.host = host
    }

    /// Nil when there is no default route with a gateway, as on a host without a NAT of its own site.
    ///
    /// Of several the one of the least priority value counts, as it does for the kernel.
    package static func find() throws(NetlinkError) -> DefaultGateway? {
        var socket = try RouteSocket()
        let routes = try socket.routes().filter { route in
            !route.destination.address.isIPv6 && route.destination.length == 0 && route.isUnicast
                && route.table == 254 && route.gateway != nil
        }
        guard let route = routes.min(by: { ($0.priority ?? 0) < ($1.priority ?? 0) }),
            case .v4(let gateway)? = route.gateway
        else { return nil }
        let addresses = try socket.addresses().filter { address in
            address.linkIndex == route.linkIndex && !address.prefix.address.isIPv6
        }
        let near = addresses.first { $0.prefix.contains(.v4(gateway)) } ?? addresses.first
        guard case .v4(let host)? = near?.prefix.address else { return nil }
        return DefaultGateway(gateway: gateway, host: host)
    }

    /// This host's own addresses that packets may leave from: no loopback, no link-local.
    package static func hostAddresses() throws(NetlinkError) -> [IPAddress] {
        var socket = try RouteSocket()
        return try socket.addresses().map(\.prefix.address).filter { !$0.isRefusedAsTarget }
    }
}
