package import Addressing
import CMnl
import Glibc

/// An address on a link, as `ip address` shows it.
package struct Address: Hashable, Sendable {
    /// The address with its host bits, and the length of the on-link prefix.
    package let prefix: IPPrefix
    package let linkIndex: Int32
    /// Duplicate address detection has not finished (IFA_F_TENTATIVE): no program can bind it yet.
    package let isTentative: Bool

    package init(prefix: IPPrefix, linkIndex: Int32, isTentative: Bool = false) {
        self.prefix = prefix
        self.linkIndex = linkIndex
        self.isTentative = isTentative
    }
}

extension Address {
    /// From an RTM_NEWADDR message; nil for another, a damaged one or another family than IP.
    package init?(_ reply: Reply) {
        let size = MemoryLayout<ifaddrmsg>.size
        guard reply.type == UInt16(RTM_NEWADDR), reply.payload.count >= size else { return nil }
        let header = unsafe reply.payload.withUnsafeBytes { unsafe $0.loadUnaligned(as: ifaddrmsg.self) }
        let attributes = Attributes(reply.payload, from: size)
        // IFA_LOCAL is the address and IFA_ADDRESS the other end on a point-to-point link; IPv6 may have only the second.
        guard let bytes = attributes[IFA_LOCAL] ?? attributes[IFA_ADDRESS], let address = IPAddress(bytes: bytes),
            let prefix = IPPrefix(address, length: Int(header.ifa_prefixlen))
        else { return nil }
        let flags = attributes.number(IFA_FLAGS) ?? UInt32(header.ifa_flags)
        self.init(
            prefix: prefix, linkIndex: Int32(bitPattern: header.ifa_index),
            isTentative: flags & UInt32(IFA_F_TENTATIVE) != 0)
    }

    /// All addresses of both families, on all links.
    package static func list() -> Message { Message(RTM_GETADDR, flags: NLM_F_DUMP, header: ifaddrmsg()) }

    /// Adds the address; refused when the link has it already. IPv6 goes without duplicate address detection, which
    /// on a tunnel finds nobody to ask and only delays the address.
    package func adding() throws(NetlinkError) -> Message {
        var header = ifaddrmsg()
        header.ifa_family = UInt8(prefix.address.isIPv6 ? AF_INET6 : AF_INET)
        header.ifa_prefixlen = UInt8(prefix.length)
        header.ifa_index = UInt32(bitPattern: linkIndex)
        var message = Message(RTM_NEWADDR, flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, header: header)
        try message.put(IFA_LOCAL, bytes: prefix.address.bytes)
        try message.put(IFA_ADDRESS, bytes: prefix.address.bytes)
        if prefix.address.isIPv6 { try message.put(IFA_FLAGS, UInt32(IFA_F_NODAD)) }
        return message
    }

    package func removing() throws(NetlinkError) -> Message {
        var header = ifaddrmsg()
        header.ifa_family = UInt8(prefix.address.isIPv6 ? AF_INET6 : AF_INET)
        header.ifa_prefixlen = UInt8(prefix.length)
        header.ifa_index = UInt32(bitPattern: linkIndex)
        var message = Message(RTM_DELADDR, flags: NLM_F_ACK, header: header)
        try message.put(IFA_LOCAL, bytes: prefix.address.bytes)
        return message
    }
}
