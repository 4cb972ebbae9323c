import Addressing
import Lab
import Sodium
import Timing
import WireGuard

/// Our device in the test's own process, on a socket of the test's: every datagram that goes in or out is kept.
final class InProcessEnd {
    var device: Device
    let socket: DatagramSocket
    let remote: Endpoint
    let peer: PeerID
    /// What came from the socket and what went to it, as it was on the wire.
    private(set) var received: [[UInt8]] = []
    private(set) var sent: [[UInt8]] = []
    /// What the device made of it.
    private(set) var results: [Decapsulated] = []
    /// The inner packets that came.
    private(set) var packets: [[UInt8]] = []

    /// A device with `keys` that has `other` as its peer.
    init(keys: Keys, peer other: End, at remote: String, presharedKey: [UInt8]?, on socket: DatagramSocket) throws {
        guard let remote = Endpoint(remote), let ipv4 = IPPrefix(other.ipv4), let ipv6 = IPPrefix(other.ipv6) else {
            throw LabError.unexpected("not an endpoint or prefix")
        }
        var device = Device(privateKey: try SecretKey(copying: keys.secretBytes), random: SecureRandom())
        peer = try device.addPeer(other.keys.publicBytes)
        if let presharedKey { try device.setPresharedKey(peer, SecretKey(copying: presharedKey)) }
        device.setAllowedIPs(peer, [ipv4, ipv6])
        device.setPath(peer, .direct(socket: 0, remote))
        self.device = device
        self.remote = remote
        self.socket = socket
    }

    func startHandshake() throws {
        device.startHandshake(peer, now: .now(), wall: .now())
        try flush()
    }

    /// Seals an inner packet and sends it; false when it has to wait for a session.
    @discardableResult
    func send(_ inner: [UInt8]) throws -> Bool {
        var output = [UInt8](repeating: 0, count: inner.count + 64)
        let result = unsafe output.withUnsafeMutableBytes { output in
            unsafe inner.withUnsafeBytes { unsafe device.encapsulate($0, into: output, now: .now(), wall: .now()) }
        }
        if case .sealed(_, _, let length) = result { try put(Array(output.prefix(length))) }
        try flush()
        if case .sealed = result { return true }
        return false
    }

    /// Runs the device until `isDone`, for at most `timeout` seconds.
    func run(_ what: String, timeout: Double = 8, until isDone: (InProcessEnd) -> Bool) throws {
        try waitUntil(what, timeout: timeout, every: 0) { () throws -> Bool in
            if let (datagram, source) = socket.receive(timeout: 0.02) {
                received.append(datagram)
                open(datagram, from: source)
            }
            device.tick(now: .now(), wall: .now())
            try flush()
            return isDone(self)
        }
    }

    /// Hands a datagram to the device.
    @discardableResult
    func open(_ datagram: [UInt8], from source: Endpoint) -> Decapsulated {
        var datagram = datagram
        let result = unsafe datagram.withUnsafeMutableBytes {
            unsafe device.decapsulate($0, from: .direct(socket: 0, source), now: .now(), wall: .now())
        }
        results.append(result)
        if case .packet(_, let range) = result { packets.append(Array(datagram[range])) }
        return result
    }

    private func flush() throws {
        for output in device.drainOutputs() { try put(output.bytes) }
    }

    private func put(_ datagram: [UInt8]) throws {
        sent.append(datagram)
        try socket.send(datagram, to: remote)
    }
}

/// ICMP echoes as the kernel understands them.
enum Echo {
    /// A whole packet with an echo request (RFC 792, RFC 4443 4.1).
    static func request(from source: String, to destination: String, payload: [UInt8]) throws -> [UInt8] {
        guard let source = IPAddress(source), let destination = IPAddress(destination) else {
            throw LabError.unexpected("not an address")
        }
        var message: [UInt8] = [source.isIPv6 ? 128 : 8, 0, 0, 0, 0x12, 0x34, 0, 1] + payload
        let addresses = source.bytes + destination.bytes
        if source.isIPv6 {
            let size = UInt16(message.count)
            let pseudo = addresses + [0, 0, UInt8(size >> 8), UInt8(size & 255), 0, 0, 0, 58]
            put(checksum(pseudo + message), into: &message, at: 2)
            return [0x60, 0, 0, 0, UInt8(size >> 8), UInt8(size & 255), 58, 64] + addresses + message
        }
        put(checksum(message), into: &message, at: 2)
        let size = UInt16(20 + message.count)
        var header: [UInt8] = [0x45, 0, UInt8(size >> 8), UInt8(size & 255), 0, 0, 0x40, 0, 64, 1, 0, 0] + addresses
        put(checksum(header), into: &header, at: 10)
        return header + message
    }

    /// Whether `packet` is the reply that carries `payload`.
    static func isReply(_ packet: [UInt8], payload: [UInt8]) -> Bool {
        let header = packet[0] >> 4 == 6 ? 40 : 20
        guard packet.count == header + 8 + payload.count else { return false }
        return packet[header] == (header == 40 ? 129 : 0) && Array(packet.suffix(payload.count)) == payload
    }

    private static func put(_ sum: UInt16, into bytes: inout [UInt8], at offset: Int) {
        bytes[offset] = UInt8(sum >> 8)
        bytes[offset + 1] = UInt8(sum & 255)
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() { sum += UInt32(byte) << (index % 2 == 0 ? 8 : 0) }
        while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }
}
