import CMnl
import Glibc

/// A network interface as `ip link` shows it.
package struct Link: Hashable, Sendable {
    package let index: Int32
    package let name: String
    package let mtu: UInt32
    /// IFF_UP is set: it was brought up. Whether it has a carrier is another question.
    package let isUp: Bool
    /// IFLA_CARRIER: for a TUN, that a process is attached and has not taken the carrier away.
    package let hasCarrier: Bool
    /// `veth`, `tun`, `bridge`…; nil for a physical or loopback device.
    package let kind: String?
    /// How many segments a piece for the device has at most; nil where the kernel does not say.
    package let maximumSegments: UInt32?
    /// What the kernel says of a TUN or TAP device; nil for other kinds.
    package let tun: Tun?
    /// Text that who may administrate the network has left there; nil when there is none.
    package let alias: String?

    /// A TUN or TAP device's settings (IFLA_TUN_*).
    package struct Tun: Hashable, Sendable {
        /// The uid that may attach without a capability; nil when none is set, so that anybody may.
        package let owner: UInt32?
        /// IFF_TUN, not IFF_TAP.
        package let isLayer3: Bool
        package let isPersistent: Bool
        package let isMultiQueue: Bool

        package init(owner: UInt32?, isLayer3: Bool, isPersistent: Bool, isMultiQueue: Bool) {
            self.owner = owner
            self.isLayer3 = isLayer3
            self.isPersistent = isPersistent
            self.isMultiQueue = isMultiQueue
        }
    }

    package init(
        index: Int32, name: String, mtu: UInt32 = 1500, isUp: Bool = false, hasCarrier: Bool = false,
        kind: String? = nil, maximumSegments: UInt32? = nil, tun: Tun? = nil, alias: String? = nil
    ) {
        self.index = index
        self.name = name
        self.mtu = mtu
        self.isUp = isUp
        self.hasCarrier = hasCarrier
        self.kind = kind
        self.maximumSegments = maximumSegments
        self.tun = tun
        self.alias = alias
    }
}

extension Link {
    /// From an RTM_NEWLINK message; nil for another or a damaged one.
    package init?(_ reply: Reply) {
        let size = MemoryLayout<ifinfomsg>.size
        guard reply.type == UInt16(RTM_NEWLINK), reply.payload.count >= size else { return nil }
        let header = unsafe reply.payload.withUnsafeBytes { unsafe $0.loadUnaligned(as: ifinfomsg.self) }
        let attributes = Attributes(reply.payload, from: size)
        guard let name = attributes.text(IFLA_IFNAME) else { return nil }
        let info = attributes.nested(IFLA_LINKINFO)
        let kind = info?.text(IFLA_INFO_KIND)
        self.init(
            index: header.ifi_index, name: name, mtu: attributes.number(IFLA_MTU) ?? 0,
            isUp: header.ifi_flags & UInt32(IFF_UP) != 0, hasCarrier: attributes.byte(IFLA_CARRIER) == 1, kind: kind,
            maximumSegments: attributes.number(IFLA_GSO_MAX_SEGS),
            tun: kind == "tun" ? info?.nested(IFLA_INFO_DATA).map(Tun.init) : nil,
            alias: attributes.text(IFLA_IFALIAS))
    }

    /// All links.
    package static func list() -> Message {
        Message(RTM_GETLINK, flags: NLM_F_DUMP, header: ifinfomsg())
    }

    /// The link called `name`.
    package static func get(named name: String) throws(NetlinkError) -> Message {
        var message = Message(RTM_GETLINK, flags: NLM_F_ACK, header: ifinfomsg())
        try message.put(IFLA_IFNAME, text: name)
        return message
    }

    /// Brings the link up.
    package func settingUp() -> Message {
        var header = ifinfomsg()
        header.ifi_index = index
        header.ifi_flags = UInt32(IFF_UP)
        header.ifi_change = UInt32(IFF_UP)
        return Message(RTM_NEWLINK, flags: NLM_F_ACK, header: header)
    }

    package func setting(mtu: UInt32) throws(NetlinkError) -> Message {
        var message = Message(RTM_NEWLINK, flags: NLM_F_ACK, header: header)
        try message.put(IFLA_MTU, mtu)
        return message
    }

    /// How many segments the kernel hands the device in one piece (`ip link set gso_max_segs`).
    package func setting(maximumSegments: UInt32) throws(NetlinkError) -> Message {
        var message = Message(RTM_NEWLINK, flags: NLM_F_ACK, header: header)
        try message.put(IFLA_GSO_MAX_SEGS, maximumSegments)
        return message
    }

    package func setting(alias: String) throws(NetlinkError) -> Message {
        var message = Message(RTM_NEWLINK, flags: NLM_F_ACK, header: header)
        try message.put(IFLA_IFALIAS, text: alias)
        return message
    }

    /// Stops the kernel from giving the link an IPv6 link-local address when it comes up: a layer 3 tunnel has no use
    /// for one, and its first packets would be router solicitations.
    package func withoutLinkLocalAddress() throws(NetlinkError) -> Message {
        var message = Message(RTM_NEWLINK, flags: NLM_F_ACK, header: header)
        try message.nest(IFLA_AF_SPEC) { (specifics) throws(NetlinkError) in
            try specifics.nest(AF_INET6) { (inet6) throws(NetlinkError) in
                try inet6.put(IFLA_INET6_ADDR_GEN_MODE, byte: UInt8(IN6_ADDR_GEN_MODE_NONE.rawValue))
            }
        }
        return message
    }

    package func deleting() -> Message { Message(RTM_DELLINK, flags: NLM_F_ACK, header: header) }

    /// A veth pair: `name` here, `peer` in the namespace that the descriptor holds open.
    package static func creatingVeth(
        _ name: String, peer: String, peerNamespace: Int32, mtu: UInt32? = nil
    ) throws(NetlinkError) -> Message {
        var message = Message(RTM_NEWLINK, flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, header: ifinfomsg())
        try message.put(IFLA_IFNAME, text: name)
        if let mtu { try message.put(IFLA_MTU, mtu) }
        try message.nest(IFLA_LINKINFO) { (info) throws(NetlinkError) in
            try info.put(IFLA_INFO_KIND, text: "veth")
            try info.nest(IFLA_INFO_DATA) { (data) throws(NetlinkError) in
                try data.nest(VETH_INFO_PEER) { (end) throws(NetlinkError) in
                    try end.put(header: ifinfomsg())
                    try end.put(IFLA_IFNAME, text: peer)
                    if let mtu { try end.put(IFLA_MTU, mtu) }
                    try end.put(IFLA_NET_NS_FD, UInt32(bitPattern: peerNamespace))
                }
            }
        }
        return message
    }

    private var header: ifinfomsg {
        var header = ifinfomsg()
        header.ifi_index = index
        return header
    }
}

extension Link.Tun {
    init(_ data: Attributes) {
        self.init(
            owner: data.number(IFLA_TUN_OWNER), isLayer3: data.byte(IFLA_TUN_TYPE) == 1,  // IFF_TUN
            isPersistent: data.byte(IFLA_TUN_PERSIST) == 1, isMultiQueue: data.byte(IFLA_TUN_MULTI_QUEUE) == 1)
    }
}
