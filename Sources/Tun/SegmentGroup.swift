/// What tells the flows of TCP and UDP packets apart, with the packet's layout. Only packets without IP options,
/// extension headers and fragments have one.
struct Flow {
    let layout: PacketLayout
    /// Equal for packets of one flow, rarely for others; never 0.
    let key: UInt64

    @inline(__always)
    init?(_ packet: PacketBytes) {
        let layout: PacketLayout
        do { layout = try PacketLayout(packet) } catch { return nil }
        guard layout.transport == (layout.isIPv6 ? 40 : 20) else { return nil }
        self.layout = layout
        let ports = UInt64(packet.raw32(layout.transport)) | UInt64(layout.protocolNumber) &<< 32
        var hash = ports &* 0x9e37_79b9_7f4a_7c15
        if layout.isIPv6 {
            hash = (hash ^ packet.raw64(8)) &* 0xff51_afd7_ed55_8ccd
            hash = (hash ^ hash &>> 32 ^ packet.raw64(16)) &* 0xc4ce_b9fe_1a85_ec53
            hash = (hash ^ hash &>> 32 ^ packet.raw64(24)) &* 0xff51_afd7_ed55_8ccd
            hash ^= packet.raw64(32)
        } else {
            hash ^= packet.raw64(12)
        }
        key = (hash ^ hash &>> 29) | 1
    }
}

/// Packets of one flow that leave as one super-packet: the first whole, of the others the payloads.
@safe
struct SegmentGroup {
    // Safe: the first packet's memory stays the caller's until the coalescer is reset, which forgets the group.
    private var first: PacketBytes?
    private var layout: PacketLayout?
    private var length = 0
    private(set) var segmentSize = 0
    private(set) var segments = 0
    /// Of TCP: the sequence number after the last packet.
    private(set) var nextSequence: UInt32 = 0
    private var nextIdentification: UInt16 = 0
    private var isPushed = false
    /// Whether another packet may join.
    private(set) var isOpen = false

    init() {}

    /// A packet that is never joined.
    init(_ packet: PacketBytes) {
        first = packet
        length = packet.count
        segments = 1
    }

    /// The first packet of a flow's group; `isOpen` says whether others may join.
    @inline(__always)
    init(_ packet: PacketBytes, _ flow: Flow) {
        let layout = flow.layout
        first = packet
        self.layout = layout
        length = packet.count
        segments = 1
        segmentSize = packet.count &- layout.payload
        if !layout.isIPv6 { nextIdentification = packet.word16(4) &+ 1 }
        if layout.isTCP {
            let flags = packet.word16(layout.transport &+ 12) & TCPFlags.all
            nextSequence = packet.word32(layout.transport &+ 4) &+ UInt32(truncatingIfNeeded: segmentSize)
            // Beginning and end of a connection take a number each (RFC 9293 3.4).
            if flags & TCPFlags.synchronize != 0 { nextSequence &+= 1 }
            if flags & TCPFlags.finish != 0 { nextSequence &+= 1 }
            isOpen = flags == TCPFlags.acknowledge && segmentSize > 0
        } else {
            isOpen = segmentSize > 0 && Self.isPlainUDP(packet, layout)
        }
    }

    /// What the TUN must support for this group to be joined.
    var offload: TunOffloads {
        guard let layout else { return [] }
        return switch (layout.isTCP, layout.isIPv6) {
        case (true, false): .tso4
        case (true, true): .tso6
        case (false, false): .uso4
        case (false, true): .uso6
        }
    }

    mutating func close() { isOpen = false }

    /// Whether `packet` continues this group.
    @inline(__always)
    func accepts(_ packet: PacketBytes, _ flow: Flow) -> Bool {
        guard isOpen, let first, let layout, flow.layout.payload == layout.payload,
            flow.layout.isIPv6 == layout.isIPv6, flow.layout.protocolNumber == layout.protocolNumber
        else { return false }
        let size = packet.count &- layout.payload
        guard size > 0, size <= segmentSize, length &+ size <= 65535 else { return false }
        if layout.isIPv6 {
            // Version, traffic class, flow label; next header, hop limit; addresses.
            guard packet.raw32(0) == first.raw32(0), packet.raw16(6) == first.raw16(6),
                packet.raw64(8) == first.raw64(8), packet.raw64(16) == first.raw64(16),
                packet.raw64(24) == first.raw64(24), packet.raw64(32) == first.raw64(32)
            else { return false }
        } else {
            // Version, header length, type of service; flags; TTL, protocol; addresses.
            guard packet.raw16(0) == first.raw16(0), packet.raw32(6) == first.raw32(6),
                packet.raw64(12) == first.raw64(12)
            else { return false }
            let isAtomic = packet.word16(6) & 0x4000 != 0
            guard isAtomic || packet.word16(4) == nextIdentification else { return false }
        }
        let transport = layout.transport
        guard packet.raw32(transport) == first.raw32(transport) else { return false }
        guard layout.isTCP else { return Self.isPlainUDP(packet, layout) }
        // Acknowledgement; data offset and flags but PSH; window; urgent pointer; options.
        guard packet.word32(transport &+ 4) == nextSequence,
            packet.raw32(transport &+ 8) == first.raw32(transport &+ 8),
            packet.word16(transport &+ 12) & ~TCPFlags.push == first.word16(transport &+ 12),
            packet.raw16(transport &+ 14) == first.raw16(transport &+ 14),
            packet.raw16(transport &+ 18) == first.raw16(transport &+ 18)
        else { return false }
        var option = transport &+ 20
        while option < layout.payload {
            guard packet.raw32(option) == first.raw32(option) else { return false }
            option &+= 4
        }
        return true
    }

    /// Counts in a packet that was accepted.
    @inline(__always)
    mutating func join(_ packet: PacketBytes, _ flow: Flow) {
        let layout = flow.layout
        let size = packet.count &- layout.payload
        length &+= size
        segments &+= 1
        nextIdentification &+= 1
        if layout.isTCP {
            nextSequence &+= UInt32(truncatingIfNeeded: size)
            isPushed = packet.word16(layout.transport &+ 12) & TCPFlags.push != 0
        }
        if size < segmentSize || isPushed { isOpen = false }
    }

    /// Rewrites the first packet's header for all segments, if there are several, and returns the virtio header.
    func complete() -> VirtioNetHeader {
        guard segments > 1, let first, let layout else { return VirtioNetHeader() }
        let transport = layout.transport
        if layout.isIPv6 {
            first.setWord16(4, UInt16(truncatingIfNeeded: length &- 40))
        } else {
            first.setWord16(2, UInt16(truncatingIfNeeded: length))
            first.setRaw16(10, 0)
            first.setRaw16(10, Checksum.finish(first.sum(0, 20)))
        }
        let transportLength = UInt16(truncatingIfNeeded: length &- transport)
        if layout.isTCP {
            if isPushed { first.setWord16(transport &+ 12, first.word16(transport &+ 12) | TCPFlags.push) }
        } else {
            first.setWord16(transport &+ 4, transportLength)
        }
        let sum =
            first.sum(layout.addresses, layout.isIPv6 ? 32 : 8) &+ Checksum.term(UInt16(layout.protocolNumber))
            &+ Checksum.term(transportLength)
        first.setRaw16(transport &+ layout.checksumOffset, Checksum.fold(sum))
        let segmentation =
            layout.isTCP
            ? layout.isIPv6 ? VirtioNetHeader.segmentationTCPv6 : VirtioNetHeader.segmentationTCPv4
            : VirtioNetHeader.segmentationUDP
        return VirtioNetHeader(
            flags: VirtioNetHeader.needsChecksum, segmentation: segmentation,
            headerLength: UInt16(truncatingIfNeeded: layout.payload),
            segmentSize: UInt16(truncatingIfNeeded: segmentSize),
            checksumStart: UInt16(truncatingIfNeeded: transport),
            checksumOffset: UInt16(truncatingIfNeeded: layout.checksumOffset))
    }

    /// With a checksum, and of the length that the IP header says.
    @inline(__always)
    private static func isPlainUDP(_ packet: PacketBytes, _ layout: PacketLayout) -> Bool {
        packet.raw16(layout.transport &+ 6) != 0
            && Int(packet.word16(layout.transport &+ 4)) == packet.count &- layout.transport
    }
}
