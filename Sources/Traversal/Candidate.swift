package import Addressing

/// An address an agent might be reached at (RFC 8445 section 5.1.1's vocabulary, without roles or nomination).
///
/// On the wire 20 bytes: kind (1), family 4 or 6 (1), port (2, big-endian), address (16, an IPv4 one in the first four
/// bytes and the rest zero).
package struct Candidate: Hashable, Sendable {
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// An address of one of the agent's own interfaces.
        case host = 1
        /// What a STUN server saw.
        case serverReflexive = 2
        /// A mapping that PCP, NAT-PMP or UPnP gave.
        case portMapped = 3
        /// The fixed port of its node that the CNI plugin maps to the pod.
        case nodeMapped = 4
        /// The source of an authenticated probe; never sent, only learned.
        case peerReflexive = 5
    }

    package let kind: Kind
    package let endpoint: Endpoint

    package init(_ kind: Kind, _ endpoint: Endpoint) {
        self.kind = kind
        self.endpoint = endpoint
    }

    package static let wireSize = 20

    package func encode(into bytes: inout [UInt8]) {
        bytes.append(kind.rawValue)
        endpoint.encode(into: &bytes)
    }

    /// Nil for an unknown kind or family, or fewer than 20 bytes.
    package init?(decoding bytes: ArraySlice<UInt8>) {
        guard bytes.count >= Self.wireSize, let first = bytes.first, let kind = Kind(rawValue: first),
            let endpoint = Endpoint(decoding: bytes.dropFirst())
        else { return nil }
        self.init(kind, endpoint)
    }
}

extension Endpoint {
    static let wireSize = 19

    func encode(into bytes: inout [UInt8]) {
        bytes.append(address.isIPv6 ? 6 : 4)
        bytes.append(UInt8(port >> 8))
        bytes.append(UInt8(port & 255))
        let raw = address.bytes
        bytes += raw + [UInt8](repeating: 0, count: 16 - raw.count)
    }

    init?(decoding bytes: ArraySlice<UInt8>) {
        guard bytes.count >= Self.wireSize else { return nil }
        let start = bytes.startIndex
        let port = UInt16(bytes[start + 1]) << 8 | UInt16(bytes[start + 2])
        let length: Int
        switch bytes[start] {
        case 4: length = 4
        case 6: length = 16
        default: return nil
        }
        guard let address = IPAddress(bytes: bytes[(start + 3)..<(start + 3 + length)]) else { return nil }
        self.init(address, port: port)
    }
}
