import Addressing
import Glibc
import Lab
import Linux
import Transport

/// A plain UDP socket in a namespace, for what no implementation sends by itself.
final class DatagramSocket: Sendable {
    private let socket: UDPSocket

    private init(_ socket: consuming UDPSocket) { self.socket = socket }

    /// Binds to `address`, which is the namespace's, and `port`, or a free one for 0.
    static func bind(in namespace: Namespace, _ address: String, port: UInt16 = 0) throws -> DatagramSocket {
        guard let address = IPAddress(address) else { throw LabError.unexpected("\(address) is no address") }
        return try NetworkNamespace(path: namespace.path).run {
            DatagramSocket(try UDPSocket(address.isIPv6 ? .ipv6 : .ipv4, address: address, port: port))
        }
    }

    var port: UInt16 { socket.port }

    /// Sends, waiting while the buffer is full.
    func send(_ datagram: [UInt8], to endpoint: Endpoint) throws {
        for _ in 0..<1000 {
            guard let errno = socket.send(datagram, to: endpoint) else { return }
            guard errno == .again || errno == .noBuffers else {
                throw LabError.system("send \(datagram.count) bytes to \(endpoint)", errno: errno.code)
            }
            usleep(1000)
        }
    }

    /// The next datagram and its source; nil when none comes within `timeout` seconds.
    func receive(timeout: Double) -> (bytes: [UInt8], source: Endpoint)? {
        var event = pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&event, 1, Int32(timeout * 1000)) > 0 else { return nil }
        var buffer = [UInt8](repeating: 0, count: 65536)
        let result = unsafe buffer.withUnsafeMutableBytes { unsafe socket.receive(into: $0) }
        return result.map { (Array(buffer.prefix($0.length)), $0.source) }
    }
}

/// A UDP datagram as a capture saw it.
struct WireDatagram {
    let source: Endpoint
    let destination: Endpoint
    let payload: [UInt8]

    /// Nil for what is not an unfragmented UDP datagram in an Ethernet frame.
    init?(frame: [UInt8]) {
        guard frame.count > 14 else { return nil }
        let packet = Array(frame[14...])
        let header: Int
        let (from, to): (IPAddress, IPAddress)
        switch Self.big16(frame, 12) {
        case 0x0800:
            header = Int(packet[0] & 15) * 4
            guard packet.count >= header + 8, packet[9] == 17, Self.big16(packet, 6) & 0x3fff == 0 else { return nil }
            from = .v4(IPv4Address(value: Self.big32(packet, 12)))
            to = .v4(IPv4Address(value: Self.big32(packet, 16)))
        case 0x86dd:
            header = 40
            guard packet.count >= 48, packet[6] == 17 else { return nil }
            from = .v6(Self.ipv6(packet, 8))
            to = .v6(Self.ipv6(packet, 24))
        default: return nil
        }
        source = Endpoint(from, port: Self.big16(packet, header))
        destination = Endpoint(to, port: Self.big16(packet, header + 2))
        // Behind the UDP length there may be padding.
        let end = min(packet.count, header + Int(Self.big16(packet, header + 4)))
        guard end >= header + 8 else { return nil }
        payload = Array(packet[(header + 8)..<end])
    }

    /// The message type of WireGuard: the first byte.
    var type: UInt8 { payload.first ?? 0 }
    /// Whether a handshake message ends with a MAC made with a cookie.
    var hasMAC2: Bool { payload.suffix(16).contains { $0 != 0 } }

    private static func big16(_ bytes: [UInt8], _ offset: Int) -> UInt16 {
        UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
    }

    private static func big32(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func ipv6(_ bytes: [UInt8], _ offset: Int) -> IPv6Address {
        let words = bytes[offset..<offset + 16].map(UInt64.init)
        return IPv6Address(
            high: words.prefix(8).reduce(0) { $0 << 8 | $1 }, low: words.suffix(8).reduce(0) { $0 << 8 | $1 })
    }
}

extension Capture {
    /// Ends the capture; its UDP datagrams in order.
    func datagrams() throws -> [WireDatagram] { try stop().compactMap { WireDatagram(frame: Array($0.bytes)) } }
}
