/// Builds the packets of one TCP or UDP flow, with checksums by the book: sixteen bits at a time.
struct TestFlow {
    var isIPv6 = false
    var isTCP = true
    var sourcePort: UInt16 = 40000
    var destinationPort: UInt16 = 443
    var hopLimit: UInt8 = 64
    var trafficClass: UInt8 = 0
    var isAtomic = true
    /// TCP options, a multiple of 4 bytes.
    var options: [UInt8] = []
    var identification: UInt16 = 1
    var sequence: UInt32 = 1
    var acknowledgement: UInt32 = 77
    var window: UInt16 = 501

    var headerLength: Int { (isIPv6 ? 40 : 20) + (isTCP ? 20 + options.count : 8) }

    /// The next packet of the flow.
    mutating func packet(_ payload: [UInt8], flags: UInt8 = 0x10) -> [UInt8] {
        defer {
            identification &+= 1
            sequence &+= UInt32(payload.count)
        }
        return Self.build(self, payload, flags: flags)
    }

    private static func build(_ flow: TestFlow, _ payload: [UInt8], flags: UInt8) -> [UInt8] {
        var transport = big(flow.sourcePort) + big(flow.destinationPort)
        let checksumField: Int
        if flow.isTCP {
            transport += big(flow.sequence) + big(flow.acknowledgement)
            transport += [UInt8((20 + flow.options.count) / 4) << 4, flags] + big(flow.window) + [0, 0, 0, 0] + flow.options
            checksumField = 16
        } else {
            transport += big(UInt16(8 + payload.count)) + [0, 0]
            checksumField = 6
        }
        transport += payload
        let number: UInt8 = flow.isTCP ? 6 : 17
        let addresses: [UInt8] =
            flow.isIPv6
            ? [0xfd, 0] + Array(repeating: 1, count: 13) + [1] + [0xfd, 0] + Array(repeating: 1, count: 13) + [2]
            : [10, 9, 0, 1, 10, 9, 0, 2]
        let pseudo = addresses + [0, number] + big(UInt16(transport.count))
        var checksum = naiveChecksum(pseudo + transport)
        if checksum == 0 { checksum = 0xffff }
        transport.replaceSubrange(checksumField..<(checksumField + 2), with: big(checksum))
        if flow.isIPv6 {
            return [0x60 | flow.trafficClass >> 4, flow.trafficClass << 4, 0, 7] + big(UInt16(transport.count))
                + [number, flow.hopLimit] + addresses + transport
        }
        var header: [UInt8] = [0x45, flow.trafficClass] + big(UInt16(20 + transport.count)) + big(flow.identification)
        header += [flow.isAtomic ? 0x40 : 0, 0, flow.hopLimit, number, 0, 0] + addresses
        header.replaceSubrange(10..<12, with: big(naiveChecksum(header)))
        return header + transport
    }
}

func big(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
func big(_ value: UInt32) -> [UInt8] {
    big(UInt16(value >> 16)) + big(UInt16(truncatingIfNeeded: value))
}

/// RFC 1071 as its text says, in network order.
func naiveChecksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
        sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
        if sum > 0xffff { sum = sum & 0xffff + 1 }
    }
    return ~UInt16(sum)
}

/// Whether an unfragmented packet's IP and transport checksums are right.
func hasValidChecksums(_ packet: [UInt8]) -> Bool {
    let isIPv6 = packet[0] >> 4 == 6
    let transport = isIPv6 ? 40 : Int(packet[0] & 15) * 4
    if !isIPv6, naiveChecksum(Array(packet[0..<transport])) != 0 { return false }
    let addresses = isIPv6 ? packet[8..<40] : packet[12..<20]
    let pseudo = Array(addresses) + [0, packet[isIPv6 ? 6 : 9]] + big(UInt16(packet.count - transport))
    return naiveChecksum(pseudo + packet[transport...]) == 0
}
