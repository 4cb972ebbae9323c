import Addressing
import Sodium
import TestSupport
import Testing
import Timing
import WireGuard

/// Virtual time: both clocks move together.
final class VirtualClock {
    var now = MonotonicTime(nanoseconds: 1_000_000_000)

    var wall: WallTime {
        WallTime(
            seconds: 1_700_000_000 + Int64(now.nanoseconds / 1_000_000_000),
            nanoseconds: UInt32(now.nanoseconds % 1_000_000_000))
    }

    func advance(_ interval: Interval) { now = now + interval }
}

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }
func direct(_ text: String, socket: UInt8 = 0) -> Path {
    .direct(socket: socket, Endpoint(text) ?? Endpoint(.v4(.any), port: 0))
}

/// An IPv4 or IPv6 packet with a payload of `payload`.
func packet(from source: String, to destination: String, payload: [UInt8] = []) throws -> [UInt8] {
    let (source, destination) = (try address(source), try address(destination))
    let size = payload.count
    let header: [UInt8]
    if source.isIPv6 {
        header = [0x60, 0, 0, 0, UInt8(size >> 8), UInt8(size & 255), 17, 64] + source.bytes + destination.bytes
    } else {
        let total = size + 20
        header =
            [0x45, 0, UInt8(total >> 8), UInt8(total & 255), 0, 0, 0x40, 0, 64, 17, 0, 0] + source.bytes
            + destination.bytes
    }
    return header + payload
}

/// A device on a virtual clock.
final class Node {
    var device: Device
    let clock: VirtualClock
    /// Where its datagrams come from, as others see it.
    var path: Path

    init(
        seed: UInt64, clock: VirtualClock, path: Path, configuration: Device.Configuration = Device.Configuration()
    ) throws {
        try Libsodium.initialize()
        var random = SeededRandom(seed: seed)
        device = Device(privateKey: try SecretKey(using: &random), random: random, configuration: configuration)
        self.clock = clock
        self.path = path
    }

    var publicKey: PublicKey { device.publicKey ?? .zero }
    var drops: DropCounters { device.drops }

    func peer(_ other: Node) throws -> PeerID {
        let id = device.peer(other.publicKey)
        return try #require(id)
    }

    /// Sends an inner packet; the datagram if it was sealed.
    @discardableResult
    func send(_ inner: [UInt8]) -> (result: Encapsulated, datagram: [UInt8]?) {
        var output = [UInt8](repeating: 0xee, count: inner.count + 64)
        let result = unsafe output.withUnsafeMutableBytes { output in
            unsafe inner.withUnsafeBytes {
                unsafe device.encapsulate($0, into: output, now: clock.now, wall: clock.wall)
            }
        }
        if case .sealed(_, _, let length) = result { return (result, Array(output.prefix(length))) }
        return (result, nil)
    }

    /// Receives a datagram; the inner packet if it carried one.
    @discardableResult
    func receive(_ datagram: [UInt8], from path: Path) -> (result: Decapsulated, inner: [UInt8]?) {
        var datagram = datagram
        let result = unsafe datagram.withUnsafeMutableBytes {
            unsafe device.decapsulate($0, from: path, now: clock.now, wall: clock.wall)
        }
        if case .packet(_, let range) = result { return (result, Array(datagram[range])) }
        return (result, nil)
    }

    func tick() { device.tick(now: clock.now, wall: clock.wall) }
    func outputs() -> [Output] { device.drainOutputs() }
    func events() -> [Event] { device.drainEvents() }

    func shakeHands(with other: Node) throws {
        device.startHandshake(try peer(other), now: clock.now, wall: clock.wall)
    }
    func keepalive(to other: Node) throws { device.sendKeepalive(try peer(other), now: clock.now, wall: clock.wall) }

    func snapshot(of other: Node) throws -> PeerSnapshot {
        let snapshot = device.snapshot(try peer(other))
        return try #require(snapshot)
    }
}

/// Two devices that are each other's peers: 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2.
final class Pair {
    let clock = VirtualClock()
    let a: Node
    let b: Node

    init(
        seed: UInt64 = 1, presharedKey: Bool = false, configuration: Device.Configuration = Device.Configuration()
    ) throws {
        a = try Node(seed: seed * 2, clock: clock, path: direct("192.0.2.1:1001"), configuration: configuration)
        b = try Node(seed: seed * 2 + 1, clock: clock, path: direct("192.0.2.2:1002"), configuration: configuration)
        for (node, other, number) in [(a, b, 2), (b, a, 1)] {
            let id = try node.device.addPeer(other.publicKey)
            node.device.setAllowedIPs(id, [try prefix("10.0.0.\(number)/32"), try prefix("fd00::\(number)/128")])
            node.device.setPath(id, other.path)
            if presharedKey {
                try node.device.setPresharedKey(id, SecretKey(copying: [UInt8](repeating: 0x77, count: 32)))
            }
        }
    }

    func toB(_ payload: [UInt8] = [1, 2, 3]) throws -> [UInt8] {
        try packet(from: "10.0.0.1", to: "10.0.0.2", payload: payload)
    }

    func toA(_ payload: [UInt8] = [4, 5, 6]) throws -> [UInt8] {
        try packet(from: "10.0.0.2", to: "10.0.0.1", payload: payload)
    }

    /// Delivers what both have to send until nothing is left; the inner packets that arrived.
    @discardableResult
    func settle() -> [[UInt8]] {
        var arrived: [[UInt8]] = []
        while true {
            let (fromA, fromB) = (a.outputs(), b.outputs())
            if fromA.isEmpty && fromB.isEmpty { return arrived }
            for output in fromA { if let inner = b.receive(output.bytes, from: a.path).inner { arrived.append(inner) } }
            for output in fromB { if let inner = a.receive(output.bytes, from: b.path).inner { arrived.append(inner) } }
        }
    }

    /// Makes a session, A initiating, and forgets the events.
    func connect() throws {
        try a.shakeHands(with: b)
        settle()
        #expect(a.events().contains(.handshakeCompleted(try a.peer(b), asInitiator: true)))
        #expect(b.events().contains(.handshakeCompleted(try b.peer(a), asInitiator: false)))
    }

    /// Whether a packet gets through at once, each way.
    func flows() throws -> Bool {
        for (from, to, inner) in [(a, b, try toB()), (b, a, try toA())] {
            guard let datagram = from.send(inner).datagram, to.receive(datagram, from: from.path).inner == inner else {
                return false
            }
        }
        return true
    }

    /// Runs both devices' timers until `time`, delivering at once what they send.
    func run(until time: MonotonicTime) {
        while true {
            let next = min(a.device.nextDeadline, b.device.nextDeadline)
            guard next <= time else { break }
            if clock.now < next { clock.now = next }
            a.tick()
            b.tick()
            settle()
        }
        clock.now = max(clock.now, time)
    }
}
