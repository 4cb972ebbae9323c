import Addressing
import CMnl
import CNftnl
import Glibc
import Netlink

/// One connection that conntrack knows, as ctnetlink shows it: UDP over IPv4 only.
struct Flow: Hashable, Sendable {
    struct Tuple: Hashable, Sendable {
        let source: IPv4Address
        let destination: IPv4Address
        let sourcePort: UInt16
        let destinationPort: UInt16
    }

    let original: Tuple
    let reply: Tuple
    /// The attributes by which the kernel finds it again, as they came.
    private let originalBytes: [UInt8]
    private let zone: [UInt8]?

    /// From an IPCTNL_MSG_CT_NEW message; nil for another, a damaged one, or another protocol.
    init?(_ reply: Reply) {
        let size = MemoryLayout<nfgenmsg>.size
        guard reply.type == UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(IPCTNL_MSG_CT_NEW.rawValue),
            reply.payload.count >= size
        else { return nil }
        let attributes = Attributes(reply.payload, from: size)
        guard let bytes = attributes[CTA_TUPLE_ORIG.rawValue], let original = Tuple(Attributes(bytes)),
            let answer = attributes.nested(CTA_TUPLE_REPLY.rawValue).flatMap({ Tuple($0) })
        else { return nil }
        self.original = original
        self.reply = answer
        originalBytes = bytes
        zone = attributes[CTA_ZONE.rawValue]
    }

    /// Which of a tuple's fields a dump is to look at (CTA_FILTER of nf_conntrack_netlink.c). Kernels before 5.8 don't
    /// know it and show everything.
    struct Filter: Sendable {
        var source: IPv4Address?
        var sourcePort: UInt16?
        var destinationPort: UInt16?
        var isOfReply = false

        fileprivate var bits: UInt32 {
            var bits: UInt32 = 1 << 3  // the protocol's number
            if source != nil { bits |= 1 << 0 }
            if sourcePort != nil { bits |= 1 << 4 }
            if destinationPort != nil { bits |= 1 << 5 }
            return bits
        }
    }

    static func list(_ filter: Filter) throws(NetlinkError) -> Message {
        var message = message(IPCTNL_MSG_CT_GET, flags: NLM_F_DUMP)
        let tuple = filter.isOfReply ? CTA_TUPLE_REPLY : CTA_TUPLE_ORIG
        try message.nest(tuple.rawValue) { (tuple) throws(NetlinkError) in
            if let source = filter.source {
                try tuple.nest(CTA_TUPLE_IP.rawValue) { (ip) throws(NetlinkError) in
                    try ip.put(CTA_IP_V4_SRC.rawValue, bytes: source.bytes)
                }
            }
            try tuple.nest(CTA_TUPLE_PROTO.rawValue) { (part) throws(NetlinkError) in
                try part.put(CTA_PROTO_NUM.rawValue, byte: UInt8(IPPROTO_UDP))
                if let port = filter.sourcePort { try part.put(CTA_PROTO_SRC_PORT.rawValue, bytes: networkOrder(port)) }
                if let port = filter.destinationPort {
                    try part.put(CTA_PROTO_DST_PORT.rawValue, bytes: networkOrder(port))
                }
            }
        }
        try message.nest(CTA_FILTER.rawValue) { (flags) throws(NetlinkError) in
            try flags.put(CTA_FILTER_ORIG_FLAGS.rawValue, filter.isOfReply ? 0 : filter.bits)
            try flags.put(CTA_FILTER_REPLY_FLAGS.rawValue, filter.isOfReply ? filter.bits : 0)
        }
        return message
    }

    func deleting() throws(NetlinkError) -> Message {
        var message = Self.message(IPCTNL_MSG_CT_DELETE, flags: NLM_F_ACK)
        try message.put(CTA_TUPLE_ORIG.rawValue | UInt32(NLA_F_NESTED), bytes: originalBytes)
        if let zone { try message.put(CTA_ZONE.rawValue, bytes: zone) }
        return message
    }

    private static func message(_ type: cntl_msg_types, flags: Int32) -> Message {
        var header = nfgenmsg()
        header.nfgen_family = UInt8(AF_INET)
        return Message(UInt32(NFNL_SUBSYS_CTNETLINK) << 8 | type.rawValue, flags: flags, header: header)
    }
}

extension Flow.Tuple {
    fileprivate init?(_ attributes: Attributes) {
        guard let ip = attributes.nested(CTA_TUPLE_IP.rawValue), let part = attributes.nested(CTA_TUPLE_PROTO.rawValue),
            part.byte(CTA_PROTO_NUM.rawValue) == UInt8(IPPROTO_UDP),
            let source = Self.address(ip[CTA_IP_V4_SRC.rawValue]),
            let destination = Self.address(ip[CTA_IP_V4_DST.rawValue]),
            let sourcePort = Self.port(part[CTA_PROTO_SRC_PORT.rawValue]),
            let destinationPort = Self.port(part[CTA_PROTO_DST_PORT.rawValue])
        else { return nil }
        self.init(
            source: source, destination: destination, sourcePort: sourcePort, destinationPort: destinationPort)
    }

    private static func address(_ bytes: [UInt8]?) -> IPv4Address? {
        bytes.flatMap { $0.count == 4 ? IPv4Address($0[0], $0[1], $0[2], $0[3]) : nil }
    }

    private static func port(_ bytes: [UInt8]?) -> UInt16? {
        bytes.flatMap { $0.count == 2 ? UInt16($0[0]) << 8 | UInt16($0[1]) : nil }
    }
}
