import Glibc

/// Takes one frame of a TUN apart into complete IP packets: a TSO or USO super-packet into its segments (as the kernel's
/// `tcp_gso_segment` and `__udp_gso_segment` do), any other packet into itself, with its checksum completed.
///
/// Made for one frame and used up by `next()` or `next(into:)`, not a mix of both. No allocation; it works in the frame's
/// buffer, which must live as long. One thread.
///
/// `next()` copies no payload: the header of each segment is written in front of its payload, over the end of the segment
/// before, which is why a segment must be sealed (out of place) before the next is asked for.
@safe
package struct SegmentSplitter: ~Copyable {
    // Safe: every offset comes from `PacketLayout` or is checked here against the buffer's length.
    private let packet: PacketBytes
    private let layout: PacketLayout?
    private let headerLength: Int
    /// Payload bytes a segment.
    private let segmentSize: Int
    private let payloadLength: Int
    /// The sums of all header fields that are the same in each segment.
    private let networkSum: UInt64
    private let transportSum: UInt64
    private let identification: UInt16
    private let sequence: UInt32
    /// The 16 bits with data offset and flags.
    private let flags: UInt16

    private var offset = 0
    private var index = 0
    private var remaining: Int
    private var saved = SIMD16<UInt8>()

    /// Bytes that a frame's buffer must have behind the frame, for the padding of the last packet.
    package static let paddingRoom = 16

    /// Parses the frame in the first `length` bytes of `buffer`.
    ///
    /// - Parameter buffer: a virtio header, the packet, and `paddingRoom` bytes or more.
    package init(_ buffer: UnsafeMutableRawBufferPointer, length: Int) throws(PacketFault) {
        guard let base = buffer.baseAddress, length >= VirtioNetHeader.size,
            length &+ Self.paddingRoom <= buffer.count,
            let header = unsafe VirtioNetHeader(UnsafeRawBufferPointer(buffer))
        else { throw .truncated }
        let frame = unsafe PacketBytes(base + VirtioNetHeader.size, count: length &- VirtioNetHeader.size)

        if header.segmentation == VirtioNetHeader.segmentationNone {
            let whole = frame.prefix(try PacketLayout.ipLength(frame))
            if header.flags & VirtioNetHeader.needsChecksum != 0 { try Self.completeChecksum(whole, header) }
            self.init(single: whole)
        } else {
            self.init(frame, try Self.layout(frame, header), segmentSize: Int(header.segmentSize))
        }
    }

    private init(single packet: PacketBytes) {
        self.packet = packet
        layout = nil
        headerLength = 0
        segmentSize = 0
        payloadLength = packet.count
        networkSum = 0
        transportSum = 0
        identification = 0
        sequence = 0
        flags = 0
        remaining = 1
    }

    /// The fields that differ between segments are zeroed and summed around here, and set in each segment.
    private init(_ frame: PacketBytes, _ layout: PacketLayout, segmentSize: Int) {
        packet = frame
        self.layout = layout
        self.segmentSize = segmentSize
        headerLength = layout.payload
        payloadLength = frame.count &- layout.payload
        remaining = max(1, (payloadLength &+ segmentSize &- 1) / segmentSize)
        let transport = layout.transport
        if layout.isIPv6 {
            identification = 0
            networkSum = 0
        } else {
            identification = frame.word16(4)
            frame.setRaw16(2, 0)
            frame.setRaw16(4, 0)
            frame.setRaw16(10, 0)
            networkSum = frame.sum(0, transport)
        }
        if layout.isTCP {
            sequence = frame.word32(transport &+ 4)
            flags = frame.word16(transport &+ 12)
            frame.setWord32(transport &+ 4, 0)
            frame.setRaw16(transport &+ 12, 0)
            frame.setRaw16(transport &+ 16, 0)
        } else {
            sequence = 0
            flags = 0
            frame.setRaw16(transport &+ 4, 0)
            frame.setRaw16(transport &+ 6, 0)
        }
        transportSum =
            frame.sum(layout.addresses, layout.isIPv6 ? 32 : 8) &+ Checksum.term(UInt16(layout.protocolNumber))
            &+ frame.sum(transport, layout.payload &- transport)
    }

    /// The layout of a super-packet that is what its virtio header says.
    private static func layout(_ frame: PacketBytes, _ header: VirtioNetHeader) throws(PacketFault) -> PacketLayout {
        let layout = try PacketLayout(frame)
        guard layout.length == frame.count else { throw .lengthMismatch }
        switch header.segmentation & ~VirtioNetHeader.congestionNotification {
        case VirtioNetHeader.segmentationTCPv4: guard layout.isTCP, !layout.isIPv6 else { throw .wrongProtocol }
        case VirtioNetHeader.segmentationTCPv6: guard layout.isTCP, layout.isIPv6 else { throw .wrongProtocol }
        case VirtioNetHeader.segmentationUDP: guard !layout.isTCP else { throw .wrongProtocol }
        default: throw .unknownOffload
        }
        guard header.segmentSize > 0 else { throw .zeroSegmentSize }
        return layout
    }

    /// Bytes of the next packet; 0 when there is none.
    package var nextLength: Int {
        remaining == 0 ? 0 : headerLength &+ nextPayload
    }

    /// How many packets are left.
    package var packetsLeft: Int { remaining }

    /// The next packet, in the frame's buffer, or nil when all were taken.
    ///
    /// - Parameter paddingLimit: the packet is followed by zeros up to a multiple of 16 bytes, but not beyond this length
    ///   (WireGuard pads so, with the MTU as the limit); 0 for none. The IP header says where the packet ends.
    /// - Returns: a view valid until the next call.
    package mutating func next(paddingLimit: Int = 0) -> UnsafeRawBufferPointer? {
        guard remaining > 0 else { return nil }
        let length = nextPayload
        let start = index &* segmentSize
        let total = headerLength &+ length
        if index > 0 {
            // Give this payload back the bytes that were padded over, then bring the header from where the segment
            // before has it to where this one needs it.
            unsafe (packet.base + (start &+ headerLength)).storeBytes(of: saved, as: SIMD16<UInt8>.self)
            unsafe memmove(packet.base + start, packet.base + (start &- segmentSize), headerLength)
        }
        let segment = unsafe PacketBytes(packet.base + start, count: total)
        finish(segment)
        let padded = max(total, min(paddingLimit, (total &+ 15) & ~15))
        let end = start &+ total
        if remaining > 1 { saved = unsafe packet.base.loadUnaligned(fromByteOffset: end, as: SIMD16<UInt8>.self) }
        if padded > total { unsafe memset(packet.base + end, 0, padded &- total) }
        advance(length)
        return unsafe UnsafeRawBufferPointer(start: segment.base, count: padded)
    }

    /// Copies the next packet to the start of `destination` and returns its length; nil when all were taken, 0 when it
    /// does not fit (`nextLength` says how much it needs).
    package mutating func next(into destination: UnsafeMutableRawBufferPointer) -> Int? {
        guard remaining > 0 else { return nil }
        let length = nextPayload
        guard let target = destination.baseAddress, headerLength &+ length <= destination.count else { return 0 }
        unsafe memcpy(target, packet.base, headerLength)
        unsafe memcpy(target + headerLength, packet.base + (headerLength &+ offset), length)
        finish(unsafe PacketBytes(target, count: headerLength &+ length))
        advance(length)
        return headerLength &+ length
    }

    @inline(__always)
    private var nextPayload: Int { layout == nil ? payloadLength : min(segmentSize, payloadLength &- offset) }

    @inline(__always)
    private mutating func advance(_ length: Int) {
        offset &+= length
        index &+= 1
        remaining &-= 1
    }

    /// Sets every field of the segment's headers that differs between segments.
    @inline(__always)
    private func finish(_ segment: PacketBytes) {
        guard let layout else { return }
        let total = segment.count
        let transport = layout.transport
        if layout.isIPv6 {
            segment.setWord16(4, UInt16(truncatingIfNeeded: total &- 40))
        } else {
            let length = UInt16(truncatingIfNeeded: total)
            let id = identification &+ UInt16(truncatingIfNeeded: index)
            segment.setWord16(2, length)
            segment.setWord16(4, id)
            segment.setRaw16(10, Checksum.finish(networkSum &+ Checksum.term(length) &+ Checksum.term(id)))
        }
        let length = UInt16(truncatingIfNeeded: total &- transport)
        // The length is in the pseudo-header.
        var sum = transportSum &+ Checksum.term(length)
        if layout.isTCP {
            let sequence = sequence &+ UInt32(truncatingIfNeeded: offset)
            var flags = flags
            if index > 0 { flags &= ~TCPFlags.congestionWindowReduced }
            if remaining > 1 { flags &= ~(TCPFlags.push | TCPFlags.finish) }
            segment.setWord32(transport &+ 4, sequence)
            segment.setWord16(transport &+ 12, flags)
            sum &+= UInt64(sequence.bigEndian) &+ Checksum.term(flags)
            sum &+= segment.sum(headerLength, total &- headerLength)
            segment.setRaw16(transport &+ 16, Checksum.finishTransport(sum))
        } else {
            segment.setWord16(transport &+ 4, length)
            sum &+= Checksum.term(length)
            sum &+= segment.sum(headerLength, total &- headerLength)
            segment.setRaw16(transport &+ 6, Checksum.finishTransport(sum))
        }
    }

    /// Completes the checksum of a packet that is whole but has only its pseudo-header summed (`skb_checksum_help`).
    private static func completeChecksum(_ packet: PacketBytes, _ header: VirtioNetHeader) throws(PacketFault) {
        let start = Int(header.checksumStart)
        let field = start &+ Int(header.checksumOffset)
        guard start >= 20, field &+ 2 <= packet.count else { throw .checksumOutOfRange }
        packet.setRaw16(field, Checksum.finishTransport(packet.sum(start, packet.count &- start)))
    }
}

/// Bits of the 16-bit word with data offset and flags (RFC 9293 3.1).
enum TCPFlags {
    static let finish: UInt16 = 0x01
    static let synchronize: UInt16 = 0x02
    static let push: UInt16 = 0x08
    static let acknowledge: UInt16 = 0x10
    static let congestionWindowReduced: UInt16 = 0x80
    /// All flags, without data offset and reserved bits.
    static let all: UInt16 = 0xff
}
