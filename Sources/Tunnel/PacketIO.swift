package import Addressing
import Linux
import Synchronization
import Transport
import Tun
import WireGuard

/// Where a relay is, and how data for it begins: the first four bytes of its data frames (type, version, flags, epoch).
/// The 16-byte agent id follows.
package struct RelayRoute: Equatable, Sendable {
    package var endpoint: Endpoint
    package var prefix: UInt32
    /// Whether its data goes by a stream (`StreamGate`), not to the endpoint.
    package var isStream: Bool

    package init(endpoint: Endpoint, prefix: UInt32, isStream: Bool = false) {
        self.endpoint = endpoint
        self.prefix = prefix
        self.isStream = isStream
    }

    package static let headerSize = 20

    /// Writes the header of data for (or from) `agent`.
    @inline(__always)
    func writeHeader(_ agent: AgentID, to buffer: UnsafeMutableRawBufferPointer) {
        unsafe buffer.storeBytes(of: prefix.bigEndian, as: UInt32.self)
        unsafe buffer.storeBytes(of: agent.high.bigEndian, toByteOffset: 4, as: UInt64.self)
        unsafe buffer.storeBytes(of: agent.low.bigEndian, toByteOffset: 12, as: UInt64.self)
    }

    /// Whom relay data (type 0xC0, version 1) comes from; nil for other frames, and without a payload.
    @inline(__always)
    static func source(of frame: UnsafeMutableRawBufferPointer) -> AgentID? {
        guard frame.count > headerSize, unsafe frame[0] == 0xc0, unsafe frame[1] == 1 else { return nil }
        let high = UInt64(bigEndian: unsafe frame.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
        let low = UInt64(bigEndian: unsafe frame.loadUnaligned(fromByteOffset: 12, as: UInt64.self))
        return AgentID(high: high, low: low)
    }
}

/// The relays in use by the index in a relayed path; nil while one is down.
final class RelayTable: Sendable {
    static let capacity = 16
    private let routes: InlineArray<16, RelayRoute?>

    init(_ routes: [RelayRoute?]) {
        var table = InlineArray<16, RelayRoute?>(repeating: nil)
        for (index, route) in routes.prefix(Self.capacity).enumerated() { table[index] = route }
        self.routes = table
    }

    subscript(index: UInt8) -> RelayRoute? { Int(index) < Self.capacity ? routes[Int(index)] : nil }

    /// The path of relay data that comes from exactly the endpoint of a relay in use.
    @inline(__always)
    func path(_ datagram: UnsafeMutableRawBufferPointer, from source: Endpoint) -> Path? {
        guard let agent = unsafe RelayRoute.source(of: datagram) else { return nil }
        for index in 0..<Self.capacity where routes[index]?.endpoint == source {
            return .relayed(relay: UInt8(index), agent)
        }
        return nil
    }
}

/// A socket that lives as long as anybody may send or receive through it.
final class SharedSocket: Sendable {
    let socket: UDPSocket
    init(_ socket: consuming UDPSocket) { self.socket = socket }
}

/// The tunnel's sockets at one time: 0 and 1 are the home sockets for IPv4 and IPv6, the others are adopted.
final class SocketSet: Sendable {
    let table: SocketTable
    let sockets: [SharedSocket?]

    init(_ sockets: [SharedSocket?]) {
        self.sockets = sockets
        var table = SocketTable()
        for (index, socket) in sockets.prefix(SocketTable.capacity).enumerated() {
            table[UInt8(index)] = socket?.socket.raw ?? -1
        }
        self.table = table
    }
}

/// What the control thread and the packet threads of a tunnel share. Safe from any thread.
package final class PacketIO: Sendable {
    let plane: PacketPlane
    let tun: TunDevice
    let mtu: Int
    let offloads: TunOffloads
    let sockets = Published(SocketSet([]))
    let relays = Published(RelayTable([]))
    let counters = TunnelCounters()
    /// What the pod has sent, and what it was given.
    let sent = PacketTally()
    let received = PacketTally()
    /// Nil where no relay is reached by a stream.
    let streams: StreamGate?
    /// From the thread that reads the TUN, and from the one that reads the sockets.
    let outbound = NoteRing()
    let inbound = NoteRing()
    /// Wakes the control thread.
    let door: EventFD
    private let isAsleep = Atomic(false)

    init(
        plane: PacketPlane, door: consuming EventFD, tun: consuming TunDevice, offloads: TunOffloads, mtu: Int,
        streams: StreamGate?
    ) {
        self.streams = streams
        self.plane = plane
        self.tun = tun
        self.offloads = offloads
        self.mtu = mtu
        self.door = door
    }

    // MARK: The door

    /// After a note: wakes the control thread if it sleeps.
    func wake() {
        // The note is there before the look, for every thread.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if isAsleep.load(ordering: .relaxed), isAsleep.exchange(false, ordering: .relaxed) { door.signal() }
    }

    /// Whether the control thread may wait for the door: nothing has been put meanwhile.
    func fallAsleep() -> Bool {
        isAsleep.store(true, ordering: .relaxed)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        guard outbound.isEmpty, inbound.isEmpty else {
            isAsleep.store(false, ordering: .relaxed)
            return false
        }
        return true
    }

    func awake() { isAsleep.store(false, ordering: .relaxed) }

    // MARK: To the pod

    /// Answers a packet of the pod that can't be taken with an ICMP error, where one is allowed.
    package func refuse(_ packet: UnsafeRawBufferPointer, _ error: ICMPError) {
        guard let answer = unsafe error.answer(to: packet) else { return }
        _ = unsafe answer.withUnsafeBytes { unsafe tun.write($0) }
    }

    /// A little-endian type of 1…4, which is the type byte and three zeros, and at least the length of a keepalive.
    @inline(__always)
    static func isWireGuard(_ datagram: UnsafeMutableRawBufferPointer) -> Bool {
        guard datagram.count >= 32 else { return false }
        let type = UInt32(littleEndian: unsafe datagram.loadUnaligned(as: UInt32.self))
        return (1...4).contains(type)
    }
}

/// What the tunnel itself dropped; the device counts its own drops. Safe from any thread.
package final class TunnelCounters: Sendable {
    let malformed = Atomic<UInt64>(0)
    let unsent = Atomic<UInt64>(0)
    let refused = Atomic<UInt64>(0)
    let foreign = Atomic<UInt64>(0)
    let unrelayed = Atomic<UInt64>(0)
    let forbidden = Atomic<UInt64>(0)

    /// Frames of the TUN that are no packets.
    package var malformedFrames: UInt64 { malformed.load(ordering: .relaxed) }
    /// Datagrams that could not be sent.
    package var sendErrors: UInt64 { unsent.load(ordering: .relaxed) }
    /// Packets that the TUN did not take.
    package var tunRefused: UInt64 { refused.load(ordering: .relaxed) }
    /// Datagrams that are neither WireGuard's nor the policy's.
    package var foreignDatagrams: UInt64 { foreign.load(ordering: .relaxed) }
    /// Packets for a relay that is down.
    package var noRelay: UInt64 { unrelayed.load(ordering: .relaxed) }
    /// Packets that the verdict did not let pass.
    package var forbiddenPackets: UInt64 { forbidden.load(ordering: .relaxed) }

    static func add(_ counter: borrowing Atomic<UInt64>, _ count: Int = 1) {
        if count > 0 { counter.wrappingAdd(UInt64(count), ordering: .relaxed) }
    }
}
