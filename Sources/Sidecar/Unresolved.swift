import Addressing
import Timing

/// Packets of the pod for addresses whose agent is being looked up, and the addresses that nobody has.
///
/// At most 32 packets an address and 256 in all, for 3 s; nobody's addresses are remembered for 3 s, so that an application
/// that tries again soon finds an agent that has just joined. Lookups begin at a limited rate: an application that tries
/// every address must not keep its agent's hub busy.
struct Unresolved {
    enum Verdict: Equatable {
        /// Kept; the caller looks the address up.
        case lookUp
        /// Kept, or dropped for lack of room; a lookup is on its way.
        case waiting
        /// Nobody has the address: the caller answers with an ICMP error.
        case nobody
    }

    static let packetsPerAddress = 32
    static let packetLimit = 256
    static let addressLimit = 128
    static let holdTime = Interval.seconds(3)
    static let lookupLimit = TokenBucket.Limit(perSecond: 32, burst: 128)

    private struct Waiting {
        var packets: [[UInt8]] = []
        let since: MonotonicTime
    }

    private var waiting: [IPAddress: Waiting] = [:]
    private var nobody: [IPAddress: MonotonicTime] = [:]
    private var count = 0
    private(set) var dropped: UInt64 = 0
    private var lookups: TokenBucket

    init(now: MonotonicTime) { lookups = TokenBucket(full: Self.lookupLimit, now: now) }

    mutating func add(_ packet: UnsafeRawBufferPointer, to address: IPAddress, now: MonotonicTime) -> Verdict {
        if let since = nobody[address] {
            if now.since(since) < Self.holdTime { return .nobody }
            nobody[address] = nil
        }
        expire(now: now)
        let isNew = waiting[address] == nil
        guard count < Self.packetLimit, !isNew || waiting.count < Self.addressLimit,
            waiting[address].map({ $0.packets.count < Self.packetsPerAddress }) ?? true,
            !isNew || lookups.take(1, limit: Self.lookupLimit, now: now)
        else {
            dropped += 1
            return .waiting
        }
        waiting[address, default: Waiting(since: now)].packets.append(unsafe Array(packet))
        count += 1
        return isNew ? .lookUp : .waiting
    }

    /// The packets that waited for `address`.
    mutating func take(_ address: IPAddress) -> [[UInt8]] {
        let packets = waiting.removeValue(forKey: address)?.packets ?? []
        count -= packets.count
        return packets
    }

    /// Nobody has `address`: its packets, for the ICMP errors.
    mutating func fail(_ address: IPAddress, now: MonotonicTime) -> [[UInt8]] {
        if nobody.count >= Self.addressLimit { nobody = nobody.filter { now.since($0.value) < Self.holdTime } }
        if nobody.count < Self.addressLimit { nobody[address] = now }
        return take(address)
    }

    private mutating func expire(now: MonotonicTime) {
        guard waiting.contains(where: { now.since($0.value.since) > Self.holdTime }) else { return }
        for (address, entry) in waiting where now.since(entry.since) > Self.holdTime {
            dropped += UInt64(entry.packets.count)
            _ = take(address)
        }
    }
}
