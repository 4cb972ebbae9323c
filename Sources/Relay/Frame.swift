package import Addressing

/// The first byte of a datagram of ours: 0xC0…0xFF, which neither WireGuard (1…4) nor STUN (0…0x3F) uses.
///
/// 0xC0…0xCF is the relay's; 0xD0…0xDF introductions and probes; 0xE0…0xEF streams. Keeps unknown values.
package struct FrameType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// An agent's payload, both ways.
    package static let data = Self(rawValue: 0xc0)
    /// Agent to relay: a registration begins.
    package static let hello = Self(rawValue: 0xc1)
    /// Relay to agent: the cookie for its endpoint.
    package static let challenge = Self(rawValue: 0xc2)
    /// Agent to relay: the cookie, signed, and who the agent is.
    package static let proof = Self(rawValue: 0xc3)
    /// Relay to agent: registered.
    package static let accepted = Self(rawValue: 0xc4)
    /// Relay to agent: why a frame was not served.
    package static let error = Self(rawValue: 0xc5)
    /// Agent to relay, and its answer.
    package static let ping = Self(rawValue: 0xc6)
    package static let pong = Self(rawValue: 0xc7)
    /// Relay to agent: register elsewhere, this relay is about to end.
    package static let drain = Self(rawValue: 0xc8)

    /// Whether a datagram that begins with this byte is one of ours.
    package var isOwn: Bool { rawValue >= 0xc0 }
}

/// Why bytes are not a frame.
package enum FrameFault: Error, Hashable, Sendable {
    /// The first byte is below 0xC0: not one of ours.
    case foreign
    /// Shorter than its type says.
    case truncated
    case unknownVersion
}

/// What every relay frame begins with.
///
///      0                   1                   2                   3
///      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |     Type      |  Version (1)  |     Flags     |     Epoch     |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |                       Agent id (16 bytes)                     |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |  Body: what the type says, to the end of the datagram         |
///
/// In relay data the id is the destination towards the relay and the source from it, and flags pass unchanged; in all
/// else the id is that of the agent at the other end of the link. The epoch is that of the agent's registration, both
/// ways; 0 says there is none yet. On streams a u16 length (network order) comes before each frame.
package struct FrameHeader: Hashable, Sendable {
    package static let size = 20
    package static let version: UInt8 = 1

    package var type: FrameType
    package var flags: UInt8
    package var epoch: UInt8
    package var agent: AgentID

    package init(_ type: FrameType, flags: UInt8 = 0, epoch: UInt8, agent: AgentID) {
        self.type = type
        self.flags = flags
        self.epoch = epoch
        self.agent = agent
    }

    /// The header in front of `datagram`, of any type of ours.
    package init(_ datagram: RawSpan) throws(FrameFault) {
        guard let type = datagram.bigEndian(UInt8.self, at: 0), type >= 0xc0 else { throw .foreign }
        guard let version = datagram.bigEndian(UInt8.self, at: 1) else { throw .truncated }
        guard version == Self.version else { throw .unknownVersion }
        guard let flags = datagram.bigEndian(UInt8.self, at: 2), let epoch = datagram.bigEndian(UInt8.self, at: 3),
            let high = datagram.bigEndian(UInt64.self, at: 4), let low = datagram.bigEndian(UInt64.self, at: 12)
        else { throw .truncated }
        self.type = FrameType(rawValue: type)
        self.flags = flags
        self.epoch = epoch
        agent = AgentID(high: high, low: low)
    }

    /// The 20 bytes.
    package var bytes: [20 of UInt8] {
        var bytes: [20 of UInt8] = .init(repeating: 0)
        bytes[0] = type.rawValue
        bytes[1] = Self.version
        bytes[2] = flags
        bytes[3] = epoch
        for index in 0..<8 {
            let shift = UInt64(56 - 8 * index)
            bytes[4 + index] = UInt8(truncatingIfNeeded: agent.high >> shift)
            bytes[12 + index] = UInt8(truncatingIfNeeded: agent.low >> shift)
        }
        return bytes
    }

    /// Overwrites the first 20 bytes of `datagram`, which has them.
    package func write(to datagram: UnsafeMutableRawBufferPointer) {
        precondition(datagram.count >= Self.size)
        unsafe datagram.storeBytes(
            of: (type.rawValue, Self.version, flags, epoch), as: (UInt8, UInt8, UInt8, UInt8).self)
        unsafe datagram.storeBytes(of: agent.high.bigEndian, toByteOffset: 4, as: UInt64.self)
        unsafe datagram.storeBytes(of: agent.low.bigEndian, toByteOffset: 12, as: UInt64.self)
    }
}

/// Appends to a frame in network order.
struct FrameBuilder {
    private(set) var bytes: [UInt8]

    init(_ header: FrameHeader, capacity: Int) {
        bytes = []
        bytes.reserveCapacity(capacity)
        let header = header.bytes
        for index in header.indices { bytes.append(header[index]) }
    }

    mutating func append(_ value: some FixedWidthInteger) {
        for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func append(_ more: [UInt8]) { bytes += more }

    mutating func pad(to size: Int) { bytes += repeatElement(0, count: max(0, size - bytes.count)) }
}
