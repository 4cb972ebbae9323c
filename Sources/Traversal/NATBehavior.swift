/// How the NATs in front of an agent treat its UDP over IPv4, in the words of RFC 4787.
///
/// On the wire eight bytes: mapping, filtering, allocation, remapping (0 unknown, 1 no, 2 yes), then two numbers of the
/// allocation (big-endian): the step of a sequential one, the bounds of a block.
package struct NATBehavior: Hashable, Sendable {
    /// Which external port an internal one gets (section 4.1).
    package enum Mapping: UInt8, Sendable, CaseIterable {
        case unknown = 0
        /// Seen from outside as it is: no NAT.
        case none = 1
        /// The same for all destinations.
        case endpointIndependent = 2
        /// Another for each address.
        case addressDependent = 3
        /// Another for each address and port.
        case addressAndPortDependent = 4
        /// No server answers: UDP is blocked.
        case blocked = 5

        /// All destinations see the same endpoint.
        var isSingle: Bool { self == .none || self == .endpointIndependent }
    }

    /// Whose packets reach a mapping (section 5).
    package enum Filtering: UInt8, Sendable, CaseIterable {
        case unknown = 0
        /// Everybody's.
        case endpointIndependent = 1
        /// Those of addresses that were sent to.
        case addressDependent = 2
        /// Those of addresses and ports that were sent to.
        case addressAndPortDependent = 3
    }

    /// How the port of the next mapping is chosen (section 4.2).
    package enum Allocation: Hashable, Sendable {
        case unknown
        /// The internal port.
        case preserving
        /// Another, but the same for all destinations.
        case rewritten
        /// The one after the last, by this step.
        case sequential(step: UInt16)
        /// Any of a few, 2,048 at most.
        case block(ClosedRange<UInt16>)
        /// Any.
        case random
    }

    package var mapping: Mapping = .unknown
    package var filtering: Filtering = .unknown
    package var allocation: Allocation = .unknown
    /// Whether an unsolicited packet takes a port away from the mapping that wants it, as with a connection-tracking NAT
    /// that accepts packets for itself: the peer must not be heard before it was sent to. Nil when that is not known.
    package var remapsAfterUnsolicited: Bool?

    package init() {}

    package init(
        _ mapping: Mapping, _ filtering: Filtering = .unknown, _ allocation: Allocation = .unknown,
        remapsAfterUnsolicited: Bool? = nil
    ) {
        self.mapping = mapping
        self.filtering = filtering
        self.allocation = allocation
        self.remapsAfterUnsolicited = remapsAfterUnsolicited
    }

    /// All destinations see the same endpoint.
    package var hasOneMapping: Bool { mapping.isSingle }

    /// What destinations see depends on them.
    package var hasManyMappings: Bool { mapping == .addressDependent || mapping == .addressAndPortDependent }

    /// Whether a packet from a port that was never sent to may come in, as far as is known.
    package var filtersByPort: Bool { filtering == .addressAndPortDependent || filtering == .unknown }

    static let wireSize = 8
    static let largestBlock: UInt16 = 2048

    func encode(into bytes: inout [UInt8]) {
        let (kind, first, second): (UInt8, UInt16, UInt16) =
            switch allocation {
            case .unknown: (0, 0, 0)
            case .preserving: (1, 0, 0)
            case .rewritten: (2, 0, 0)
            case .sequential(let step): (3, step, 0)
            case .block(let ports): (4, ports.lowerBound, ports.upperBound)
            case .random: (5, 0, 0)
            }
        bytes += [mapping.rawValue, filtering.rawValue, kind, remapsAfterUnsolicited.map { $0 ? 2 : 1 } ?? 0]
        bytes.append(bigEndian: first)
        bytes.append(bigEndian: second)
    }

    /// What is not known here is taken as unknown; nil for fewer than eight bytes.
    init?(decoding bytes: ArraySlice<UInt8>) {
        guard bytes.count >= Self.wireSize else { return nil }
        let start = bytes.startIndex
        mapping = Mapping(rawValue: bytes[start]) ?? .unknown
        filtering = Filtering(rawValue: bytes[start + 1]) ?? .unknown
        let (first, second) = (bytes.bigEndian16(at: 4), bytes.bigEndian16(at: 6))
        allocation =
            switch bytes[start + 2] {
            case 1: .preserving
            case 2: .rewritten
            case 3 where first > 0: .sequential(step: first)
            case 4 where first > 0 && first <= second && second - first < Self.largestBlock: .block(first...second)
            case 5: .random
            default: .unknown
            }
        remapsAfterUnsolicited =
            switch bytes[start + 3] {
            case 1: false
            case 2: true
            default: nil
            }
    }
}

extension [UInt8] {
    mutating func append(bigEndian value: some FixedWidthInteger) {
        for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }
}

extension ArraySlice<UInt8> {
    /// The number in the two bytes at `offset` from the start, which must be there.
    func bigEndian16(at offset: Int) -> UInt16 {
        UInt16(self[startIndex + offset]) << 8 | UInt16(self[startIndex + offset + 1])
    }

    /// The number in the eight bytes at `offset` from the start, which must be there.
    func bigEndian64(at offset: Int) -> UInt64 {
        self[(startIndex + offset)..<(startIndex + offset + 8)].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
