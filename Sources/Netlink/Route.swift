package import Addressing
import CMnl
import Glibc

/// A route, as `ip route` shows it.
package struct Route: Hashable, Sendable {
    /// The network; a length of 0 is the default route.
    package let destination: IPPrefix
    package let gateway: IPAddress?
    /// The link packets leave by; nil for a multipath or unreachable route.
    package let linkIndex: Int32?
    /// The routing table; 254 is the main one (RT_TABLE_MAIN).
    package let table: UInt32
    /// Lower wins; nil for the family's default.
    package let priority: UInt32?
    /// An ordinary route (RTN_UNICAST), not a local, broadcast, blackhole or unreachable one.
    package let isUnicast: Bool

    package init(
        destination: IPPrefix, gateway: IPAddress? = nil, linkIndex: Int32?, table: UInt32 = 254,
        priority: UInt32? = nil, isUnicast: Bool = true
    ) {
        self.destination = destination
        self.gateway = gateway
        self.linkIndex = linkIndex
        self.table = table
        self.priority = priority
        self.isUnicast = isUnicast
    }
}

extension Route {
    /// From an RTM_NEWROUTE message; nil for another, a damaged one or another family than IP.
    package init?(_ reply: Reply) {
        let size = MemoryLayout<rtmsg>.size
        guard reply.type == UInt16(RTM_NEWROUTE), reply.payload.count >= size else { return nil }
        let header = unsafe reply.payload.withUnsafeBytes { unsafe $0.loadUnaligned(as: rtmsg.self) }
        let attributes = Attributes(reply.payload, from: size)
        let unspecified: IPAddress
        switch Int32(header.rtm_family) {
        case AF_INET: unspecified = .v4(.any)
        case AF_INET6: unspecified = .v6(.any)
        default: return nil
        }
        let address = attributes[RTA_DST.rawValue].map { IPAddress(bytes: $0) } ?? unspecified
        guard let address, address.isIPv6 == unspecified.isIPv6,
            let destination = IPPrefix(address, length: Int(header.rtm_dst_len))
        else { return nil }
        self.init(
            destination: destination, gateway: attributes[RTA_GATEWAY.rawValue].flatMap { IPAddress(bytes: $0) },
            linkIndex: attributes.number(RTA_OIF.rawValue).map { Int32(bitPattern: $0) },
            table: attributes.number(RTA_TABLE.rawValue) ?? UInt32(header.rtm_table),
            priority: attributes.number(RTA_PRIORITY.rawValue),
            isUnicast: header.rtm_type == UInt8(RTN_UNICAST))
    }

    /// All routes of both families, in all tables.
    package static func list() -> Message { Message(RTM_GETROUTE, flags: NLM_F_DUMP, header: rtmsg()) }

    /// Adds the route; refused when the table has it already.
    package func adding() throws(NetlinkError) -> Message {
        let network = destination.masked
        var header = rtmsg()
        header.rtm_family = UInt8(network.address.isIPv6 ? AF_INET6 : AF_INET)
        header.rtm_dst_len = UInt8(network.length)
        header.rtm_table = UInt8(exactly: table) ?? 252  // RT_TABLE_COMPAT: the number is in RTA_TABLE
        header.rtm_protocol = UInt8(RTPROT_STATIC)
        header.rtm_scope =
            UInt8(gateway == nil && !network.address.isIPv6 ? RT_SCOPE_LINK.rawValue : RT_SCOPE_UNIVERSE.rawValue)
        header.rtm_type = UInt8(RTN_UNICAST)
        var message = Message(RTM_NEWROUTE, flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, header: header)
        if network.length > 0 { try message.put(RTA_DST.rawValue, bytes: network.address.bytes) }
        if let linkIndex { try message.put(RTA_OIF.rawValue, UInt32(bitPattern: linkIndex)) }
        if let gateway { try message.put(RTA_GATEWAY.rawValue, bytes: gateway.bytes) }
        if let priority { try message.put(RTA_PRIORITY.rawValue, priority) }
        if table > 255 { try message.put(RTA_TABLE.rawValue, table) }
        return message
    }
}
