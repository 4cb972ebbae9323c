import Foundation

/// A UDP datagram over IPv4, as a router on the way sees it: the addresses, and the little that its first bytes tell.
package struct WireDatagram: Sendable {
    /// Seconds since 1970.
    package let time: Double
    package let source: String
    package let destination: String
    package let kind: Kind

    package enum Kind: Equatable, Sendable {
        case initiation, response, cookieReply, data
        /// One of Warren's own, by its type byte: a probe, an introduction, a registration.
        case own(UInt8)
        case other

        /// Judged by the WireGuard paper's message types (5.4) and Warren's type byte.
        init(_ payload: Data) {
            switch payload.first {
            case 1: self = .initiation
            case 2: self = .response
            case 3: self = .cookieReply
            case 4: self = .data
            case .some(let type) where type >= 0xc0: self = .own(type)
            default: self = .other
            }
        }
    }

    /// Relay data: type, version, flags, epoch and an agent id, then the datagram that is carried.
    private static let relayData: UInt8 = 0xc0
    private static let relayHeader = 20

    /// Reads an Ethernet frame; nil when it holds no whole UDP datagram over IPv4.
    ///
    /// What a relay carries is judged by the datagram inside.
    package init?(_ packet: CapturedPacket) {
        let bytes = packet.bytes
        guard bytes.count >= 14 + 20, bytes[12] == 8, bytes[13] == 0 else { return nil }
        let header = Int(bytes[14] & 0x0f) * 4
        guard bytes[14 + 9] == 17, bytes.count >= 14 + header + 8 else { return nil }
        func address(_ offset: Int) -> String { bytes[offset..<(offset + 4)].map(String.init).joined(separator: ".") }
        time = packet.time
        source = address(14 + 12)
        destination = address(14 + 16)
        let payload = Data(bytes[(14 + header + 8)...])
        if payload.first == Self.relayData, payload.count > Self.relayHeader {
            kind = Kind(Data(payload[Self.relayHeader...]))
        } else {
            kind = Kind(payload)
        }
    }
}
