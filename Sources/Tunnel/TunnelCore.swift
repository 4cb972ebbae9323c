package import Addressing
import Linux
package import Transport
package import Tun
package import WireGuard

/// A tunnel's device and its I/O, owned by one thread: TUN frames in, sealed datagrams out, and back.
///
/// All buffers are allocated once, here.
package struct TunnelCore: ~Copyable {
    /// Where a relay is, and how data for it begins: the first four bytes of its data frames (type, version, flags, epoch).
    /// The 16-byte agent id follows. Set by the policy once the relay has accepted it.
    package struct RelayRoute: Equatable, Sendable {
        package var endpoint: Endpoint
        package var prefix: UInt32

        package init(endpoint: Endpoint, prefix: UInt32) {
            self.endpoint = endpoint
            self.prefix = prefix
        }

        package static let headerSize = 20
    }

    /// What the tunnel itself dropped; the device counts its own drops.
    package struct Counters: Sendable, Equatable {
        package var malformedFrames: UInt64 = 0
        package var sendErrors: UInt64 = 0
        package var tunRefused: UInt64 = 0
        package var foreignDatagrams: UInt64 = 0
        package var noRelay: UInt64 = 0
    }

    package var device: Device
    package let tun: TunDevice
    package private(set) var ipv4: UDPSocket?
    package private(set) var ipv6: UDPSocket?
    package private(set) var sockets = SocketTable()
    /// By the index in a relayed path; nil while the relay is down.
    package var relays: [RelayRoute?] = []
    package var counters = Counters()
    package var mtu: Int
    /// The largest inner packet that paths are known to carry. Without bound for a stock interface, whose MTU says it.
    package var pathLimit = Int.max
    /// Whether the kernel granted UDP_GRO; for the log.
    package private(set) var hasReceiveOffload = false
    package let offloads: TunOffloads
    /// The firewall mark of the home sockets; 0 for none.
    package private(set) var mark: UInt32 = 0

    var sending: SendBatch
    var receiving: ReceiveBatch
    var coalescer: SegmentCoalescer
    let frame: PacketPool
    let frameBuffer: UInt32
    /// Whether the send buffer was full: the TUN is not read until it is not.
    var isBlocked: Bool { blockedSocket != nil }
    /// The socket whose send buffer was full at the last flush.
    var blockedSocket: UInt8?

    /// - Parameter offloads: what the TUN was granted.
    package init(
        device: consuming Device, tun: consuming TunDevice, offloads: TunOffloads, mtu: Int
    ) throws(TransportError) {
        var frame = try PacketPool(buffers: 1, bufferSize: TunDevice.frameBufferSize)
        guard let buffer = frame.take() else { throw .system(SystemError("allocate the frame buffer", .noBuffers)) }
        let sending = try SendBatch()
        let receiving = try ReceiveBatch()
        self.frame = frame
        frameBuffer = buffer
        self.sending = sending
        self.receiving = receiving
        self.device = device
        self.tun = tun
        self.offloads = offloads
        self.mtu = mtu
        coalescer = SegmentCoalescer(offloads: offloads)
        if !OffloadSwitches.chosen.sendsSegments {
            for socket in UInt8(0)..<32 { self.sending.setSegmentation(false, socket: socket) }
        }
    }

    /// The home sockets' port; 0 before `bind`.
    package private(set) var port: UInt16 = 0

    /// Opens the home sockets on `port` (0: any free one), the same for both families where both exist. Those before stay
    /// open when this fails.
    package mutating func bind(port: UInt16) throws(TransportError) {
        // A port that is free for one family may be taken for the other.
        for _ in 0..<(port == 0 ? 16 : 0) {
            do { return try open(port: 0) } catch {
                guard case .portInUse = error else { throw error }
            }
        }
        try open(port: port)
    }

    private mutating func open(port: UInt16) throws(TransportError) {
        let first = try UDPSocket(.ipv4, port: port)
        self.port = first.port
        var second: UDPSocket?
        do { second = try UDPSocket(.ipv6, port: first.port) } catch {
            guard case .familyNotSupported = error else { throw error }
            second = nil
        }
        let switches = OffloadSwitches.chosen
        hasReceiveOffload = switches.receivesSegments && first.enableReceiveOffload()
        if let other = second.take() {
            if switches.receivesSegments { other.enableReceiveOffload() }
            if mark != 0 { other.setMark(mark) }
            sockets[1] = other.raw
            ipv6 = consume other
        } else {
            sockets[1] = -1
            ipv6 = nil
        }
        if mark != 0 { first.setMark(mark) }
        sockets[0] = first.raw
        ipv4 = consume first
    }

    package mutating func setMark(_ mark: UInt32) {
        self.mark = mark
        _ = ipv4?.setMark(mark)
        _ = ipv6?.setMark(mark)
    }

    /// The index of the home socket that sends to `address`.
    package static func socket(for address: IPAddress) -> UInt8 { address.isIPv6 ? 1 : 0 }
}
