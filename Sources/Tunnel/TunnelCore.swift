package import Addressing
import Linux
package import Transport
package import Tun
package import WireGuard

/// A tunnel's device, sockets and relays, owned by the control thread: handshakes, timers, configuration, and what is sent
/// that is not the pod's.
///
/// Packets are moved by threads of their own, with what is published to them (`PacketIO`).
package struct TunnelCore: ~Copyable {
    package var device: Device
    package let io: PacketIO
    /// By the index in a relayed path; nil while the relay is down.
    package var relays: [RelayRoute?] = [] {
        didSet { if relays != oldValue { io.relays.publish(RelayTable(relays), io.plane.reclaimer) } }
    }
    package var mtu: Int { io.mtu }
    package var offloads: TunOffloads { io.offloads }
    package var counters: TunnelCounters { io.counters }
    /// The largest inner packet that paths are known to carry, of which nothing better is known (`Device.setPathLimit`).
    /// Without bound for a stock interface, whose MTU says it.
    package var pathLimit = Int.max {
        didSet {
            device.configuration.pathLimit = pathLimit
            for peer in device.peerIDs { device.setPathLimit(peer, pathLimit) }
        }
    }
    /// Whether the kernel granted UDP_GRO; for the log.
    package private(set) var hasReceiveOffload = false
    /// The firewall mark of the sockets; 0 for none.
    package private(set) var mark: UInt32 = 0
    /// The home sockets' port; 0 before `bind`.
    package private(set) var port: UInt16 = 0

    var sending: SendBatch
    var streamRun = StreamRun()
    /// By the index in a direct path: 0 and 1 are the home sockets for IPv4 and IPv6.
    private var sockets = [SharedSocket?](repeating: nil, count: SocketTable.capacity)
    /// Those that read sockets, once they run.
    private var readers: [PacketThread] = []

    /// - Parameters:
    ///   - offloads: what the TUN was granted.
    ///   - streams: for relays that are reached by streams.
    package init(
        device: consuming Device, tun: consuming TunDevice, offloads: TunOffloads, mtu: Int, streams: StreamGate? = nil
    ) throws(TransportError) {
        // What the control thread sends is little: handshakes, probes, and packets that waited.
        let sending = try SendBatch(byteCount: 128 << 10, messages: 128)
        let door = try Self.makeDoor()
        io = PacketIO(plane: device.plane, door: door, tun: tun, offloads: offloads, mtu: mtu, streams: streams)
        self.sending = sending
        self.device = device
    }

    private static func makeDoor() throws(TransportError) -> EventFD {
        do { return try EventFD() } catch { throw .system(error) }
    }

    /// Whether there is a home socket for IPv6.
    package var hasIPv6: Bool { sockets[1] != nil }

    // MARK: Sockets

    /// Opens the home sockets on `port` (0: any free one), the same for both families where both exist. Those before stay
    /// open when this fails.
    package mutating func bind(port: UInt16) throws(TransportError) {
        // A port that is free for one family may be taken for the other.
        for _ in 0..<(port == 0 ? 16 : 0) {
            do { return try openHome(port: 0) } catch {
                guard case .portInUse = error else { throw error }
            }
        }
        try openHome(port: port)
    }

    private mutating func openHome(port: UInt16) throws(TransportError) {
        let first = SharedSocket(try UDPSocket(.ipv4, port: port))
        var second: SharedSocket?
        do { second = SharedSocket(try UDPSocket(.ipv6, port: first.socket.port)) } catch {
            guard case .familyNotSupported = error else { throw error }
        }
        self.port = first.socket.port
        hasReceiveOffload = prepare(first)
        if let second { prepare(second) }
        replace([(0, first), (1, second)])
    }

    /// Takes in a socket on which a path to a peer was found, and returns the index that such paths name; nil when all
    /// places are taken.
    package mutating func adopt(_ socket: consuming UDPSocket) -> UInt8? {
        guard let index = sockets.indices.dropFirst(2).first(where: { sockets[$0] == nil }) else { return nil }
        let shared = SharedSocket(socket)
        prepare(shared)
        replace([(index, shared)])
        return UInt8(index)
    }

    /// Closes an adopted socket, once no packet thread uses it any more.
    package mutating func release(_ index: UInt8) {
        if index >= 2, Int(index) < sockets.count { replace([(Int(index), nil)]) }
    }

    /// Sends one datagram at once that dies after so many routers, or at the first link that it does not fit.
    package func send(
        _ bytes: [UInt8], to endpoint: Endpoint, socket index: UInt8, hops: UInt8? = nil, dontFragment: Bool = false
    ) {
        guard Int(index) < sockets.count, let socket = sockets[Int(index)] else { return }
        let error =
            dontFragment
            ? socket.socket.sendUnfragmented(bytes, to: endpoint, ttl: hops)
            : socket.socket.send(bytes, to: endpoint, ttl: hops)
        if error != nil { TunnelCounters.add(io.counters.unsent) }
    }

    /// Takes UDP_GRO and the mark; whether the kernel granted the first.
    @discardableResult
    private func prepare(_ shared: SharedSocket) -> Bool {
        if mark != 0 { shared.socket.setMark(mark) }
        shared.socket.enableTimestamps()
        return OffloadSwitches.chosen.receivesSegments && shared.socket.enableReceiveOffload()
    }

    private mutating func replace(_ changes: [(index: Int, socket: SharedSocket?)]) {
        for change in changes {
            let old = sockets[change.index]
            sockets[change.index] = change.socket
            for reader in readers {
                if let old { reader.unwatch(old.socket.raw) }
                if let new = change.socket { try? reader.watch(new.socket.raw, index: UInt8(change.index)) }
            }
        }
        // With the old set goes what keeps its sockets open.
        io.sockets.publish(SocketSet(sockets), io.plane.reclaimer)
    }

    /// Has `reader` read all sockets, and those that come.
    mutating func add(_ reader: PacketThread) throws(SystemError) {
        readers.append(reader)
        for (index, socket) in sockets.enumerated() {
            if let socket { try reader.watch(socket.socket.raw, index: UInt8(index)) }
        }
    }

    package mutating func setMark(_ mark: UInt32) {
        self.mark = mark
        for socket in sockets { _ = socket?.socket.setMark(mark) }
    }

    /// The index of the home socket that sends to `address`.
    package static func socket(for address: IPAddress) -> UInt8 { address.isIPv6 ? 1 : 0 }

    /// Answers a packet of the pod that can't be taken with an ICMP error, where one is allowed.
    package func refuse(_ packet: UnsafeRawBufferPointer, _ error: ICMPError) { unsafe io.refuse(packet, error) }

    /// Counts a datagram that is neither WireGuard's nor the policy's.
    package func countForeign() { TunnelCounters.add(io.counters.foreign) }
}
