/// What a packet must keep its place among.
///
/// A short packet need not wait behind the bulk of others, but stays behind what came before it of its own flow.
package enum FlowOrder: Equatable, Sendable {
    /// A message that stands for itself (ICMP).
    case free
    /// One of TCP or UDP, with a number that is equal for packets of one flow and rarely for others.
    case flow(UInt64)
    /// Not to be told: a fragment, or of another protocol.
    case unknown

    /// - Parameter packet: an IP packet from its first byte, with whatever is behind it.
    package init(_ packet: UnsafeMutableRawBufferPointer) {
        guard let base = packet.baseAddress else {
            self = .unknown
            return
        }
        self.init(unsafe PacketBytes(base, count: packet.count))
    }

    init(_ packet: PacketBytes) {
        if Self.isICMP(packet) {
            self = .free
        } else {
            self = Flow(packet).map { .flow($0.key) } ?? .unknown
        }
    }

    /// A whole ICMP message in an IP packet without extension headers.
    static func isICMP(_ packet: PacketBytes) -> Bool {
        guard packet.count >= 20 else { return false }
        return switch packet.byte(0) &>> 4 {
        case 4: packet.byte(9) == 1 && packet.word16(6) & 0x3fff == 0
        case 6: packet.byte(6) == 58
        default: false
        }
    }

    /// Whether this one may go before all of `others`, which came earlier.
    package func mayOvertake(_ others: some Sequence<FlowOrder>) -> Bool {
        switch self {
        case .free: true
        case .flow: others.allSatisfy { $0 != self && $0 != .unknown }
        case .unknown: false
        }
    }
}

/// The sequence number that each TCP flow comes to next, of the flows that went by last. Memory: 4 KiB, once. One thread.
@safe
struct StreamPositions: ~Copyable, @unchecked Sendable {
    // Safe: a table of a fixed size, freed in deinit; every index is a remainder by that size.
    private static let size = 256
    private let keys: UnsafeMutablePointer<UInt64>
    private let sequences: UnsafeMutablePointer<UInt32>

    init() {
        unsafe keys = .allocate(capacity: Self.size)
        unsafe sequences = .allocate(capacity: Self.size)
        unsafe keys.initialize(repeating: 0, count: Self.size)
        unsafe sequences.initialize(repeating: 0, count: Self.size)
    }

    deinit {
        unsafe keys.deallocate()
        unsafe sequences.deallocate()
    }

    private static func place(_ key: UInt64) -> Int { Int(truncatingIfNeeded: key &>> 8) & (size &- 1) }

    /// The flow of that key has come to `sequence`.
    @inline(__always)
    mutating func note(_ key: UInt64, _ sequence: UInt32) {
        let place = Self.place(key)
        unsafe keys[place] = key
        unsafe sequences[place] = sequence
    }

    /// Where the flow of that key is; nil for one that is not known any more.
    @inline(__always)
    func sequence(_ key: UInt64) -> UInt32? {
        let place = Self.place(key)
        return unsafe keys[place] == key ? sequences[place] : nil
    }
}
