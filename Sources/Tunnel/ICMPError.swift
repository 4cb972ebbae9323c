import Tun

/// What the tunnel answers into the pod when it can't take a packet: an ICMP error (RFC 792, RFC 4443), never silence.
package enum ICMPError: Equatable, Sendable {
    /// Nobody in the mesh has the destination address.
    case addressUnreachable
    /// The packet is larger than the path's limit; `mtu` is the size that fits.
    case packetTooBig(mtu: Int)

    /// The whole error packet, from the destination that could not be reached, or nil where RFC 1122 3.2.2 and RFC 4443
    /// 2.4(e) forbid one: in answer to ICMP errors, to fragments but the first, to multicast, to a source that is no single
    /// host, or to what is not IP.
    package func answer(to packet: UnsafeRawBufferPointer) -> [UInt8]? {
        guard let first = unsafe packet.first else { return nil }
        return switch first >> 4 {
        case 4: unsafe answerIPv4(packet)
        case 6: unsafe answerIPv6(packet)
        default: nil
        }
    }

    private func answerIPv4(_ packet: UnsafeRawBufferPointer) -> [UInt8]? {
        guard packet.count >= 20 else { return nil }
        let headerLength = Int(unsafe packet[0] & 15) * 4
        let isFragment = unsafe packet[6] & 0x1f != 0 || packet[7] != 0
        let destination = unsafe packet[16]
        guard headerLength >= 20, packet.count >= headerLength, !isFragment, destination < 224 else { return nil }
        // Source 0/8, 127/8, multicast and what is above it.
        guard unsafe !(packet[12] == 0 || packet[12] == 127 || packet[12] >= 224) else { return nil }
        if unsafe packet[9] == 1 {
            // Echo and the other queries get an answer, errors don't.
            guard packet.count > headerLength, unsafe [0, 8, 13, 14, 17, 18].contains(packet[headerLength]) else {
                return nil
            }
        }
        let quoted = unsafe Array(packet.prefix(headerLength + 8))
        var icmp: [UInt8]
        switch self {
        case .addressUnreachable: icmp = [3, 1, 0, 0, 0, 0, 0, 0]
        case .packetTooBig(let mtu): icmp = [3, 4, 0, 0, 0, 0] + Self.word(UInt16(clamping: mtu))
        }
        icmp += quoted
        Self.setChecksum(&icmp, at: 2, Self.sum(icmp))
        var header: [UInt8] = [0x45, 0] + Self.word(UInt16(20 + icmp.count)) + [0, 0, 0, 0, 64, 1, 0, 0]
        header += unsafe Array(packet[16..<20]) + Array(packet[12..<16])
        Self.setChecksum(&header, at: 10, Self.sum(header))
        return header + icmp
    }

    private func answerIPv6(_ packet: UnsafeRawBufferPointer) -> [UInt8]? {
        guard packet.count >= 40, unsafe packet[24] != 0xff, unsafe packet[8] != 0xff,
            unsafe packet[8..<24].contains(where: { $0 != 0 }), unsafe !Self.isICMPv6Error(packet)
        else { return nil }
        var icmp: [UInt8]
        switch self {
        case .addressUnreachable: icmp = [1, 3, 0, 0, 0, 0, 0, 0]
        case .packetTooBig(let mtu): icmp = [2, 0, 0, 0, 0, 0] + Self.word(UInt16(clamping: mtu))
        }
        // As much of the packet as fits the minimum MTU of IPv6.
        icmp += unsafe Array(packet.prefix(1280 - 40 - 8))
        let addresses = unsafe Array(packet[24..<40]) + Array(packet[8..<24])
        let pseudoHeader = addresses + [0, 0] + Self.word(UInt16(icmp.count)) + [0, 0, 0, 58]
        Self.setChecksum(&icmp, at: 2, Self.sum(pseudoHeader + icmp))
        return [0x60, 0, 0, 0] + Self.word(UInt16(icmp.count)) + [58, 64] + addresses + icmp
    }

    /// Whether the packet is an ICMPv6 error or redirect, behind whichever extension headers (RFC 8200 section 4); also when
    /// that can't be seen.
    private static func isICMPv6Error(_ packet: UnsafeRawBufferPointer) -> Bool {
        var header = unsafe packet[6]
        var offset = 40
        for _ in 0..<8 {
            switch header {
            case 58: return unsafe packet.count <= offset || packet[offset] < 128 || packet[offset] == 137
            case 0, 43, 60:
                guard packet.count >= offset + 8 else { return true }
                header = unsafe packet[offset]
                offset += unsafe (Int(packet[offset + 1]) + 1) * 8
            case 44:
                guard packet.count >= offset + 8 else { return true }
                // What a later fragment carries can't be told.
                if unsafe packet[offset + 2] != 0 || packet[offset + 3] & 0xf8 != 0 {
                    return unsafe packet[offset] == 58
                }
                header = unsafe packet[offset]
                offset += 8
            default: return false
            }
        }
        return true
    }

    private static func word(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }

    private static func sum(_ bytes: [UInt8]) -> UInt64 {
        unsafe bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return 0 }
            return unsafe Checksum.sum(base, bytes.count)
        }
    }

    private static func setChecksum(_ bytes: inout [UInt8], at offset: Int, _ sum: UInt64) {
        unsafe bytes.withUnsafeMutableBytes {
            unsafe $0.storeBytes(of: Checksum.finish(sum), toByteOffset: offset, as: UInt16.self)
        }
    }
}
