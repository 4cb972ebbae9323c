package import Addressing
import Linux
package import Timing
import Transport
import Tun
package import WireGuard

// UDP to TUN.
extension TunnelCore {
    static var receivesPerTurn: Int { 8 }

    /// Takes what came in on one socket, opens it in place and writes it to the pod.
    mutating func receive<Policy: TunnelPolicy & ~Copyable>(
        socket: UInt8, _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) {
        for _ in 0..<Self.receivesPerTurn {
            let count = receiving.receive(from: sockets[socket])
            guard count > 0 else { break }
            for index in 0..<count {
                guard let message = unsafe receiving.message(index) else { continue }
                let path = Path.direct(socket: socket, message.source)
                for datagram in 0..<message.count {
                    unsafe received(message[datagram], from: path, &policy, now: now, wall: wall)
                }
            }
            // The packets live in the receive batch's memory: out with them before it is used again.
            flushToTun()
        }
    }

    /// Demultiplexes one datagram: WireGuard first, because its receiver index can look like anything else.
    mutating func received<Policy: TunnelPolicy & ~Copyable>(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ policy: inout Policy, now: MonotonicTime,
        wall: WallTime
    ) {
        if Self.isWireGuard(datagram) {
            unsafe open(datagram, from: path, &policy, now: now, wall: wall)
        } else if case .direct(_, let source) = path, let relayed = unsafe relayedPath(datagram, source) {
            let payload = unsafe UnsafeMutableRawBufferPointer(rebasing: datagram[RelayRoute.headerSize...])
            if Self.isWireGuard(payload) {
                if unsafe payload[0] == 1, case .relayed(_, let agent) = relayed,
                    unsafe !policy.admits(initiation: payload, from: agent, on: relayed, &self, now: now)
                {
                    return
                }
                unsafe open(payload, from: relayed, &policy, now: now, wall: wall)
            } else {
                unsafe policy.received(payload, from: relayed, &self, now: now)
            }
        } else {
            unsafe policy.received(datagram, from: path, &self, now: now)
        }
    }

    private mutating func open<Policy: TunnelPolicy & ~Copyable>(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ policy: inout Policy, now: MonotonicTime,
        wall: WallTime
    ) {
        switch unsafe device.decapsulate(datagram, from: path, now: now, wall: wall) {
        case .packet(let peer, let range):
            policy.heard(peer, on: path, now: now)
            let packet = unsafe UnsafeMutableRawBufferPointer(rebasing: datagram[range])
            if unsafe !coalescer.add(packet) {
                flushToTun()
                _ = unsafe coalescer.add(packet)
            }
        case .keepalive(let peer), .handshake(let peer): policy.heard(peer, on: path, now: now)
        case .handled, .dropped: break
        }
    }

    mutating func flushToTun() {
        guard coalescer.count > 0 else { return }
        let result = coalescer.flush(to: tun)
        counters.tunRefused &+= UInt64(result.refused)
    }

    /// The path of relay data (type 0xC0, version 1) that comes from exactly the endpoint of a relay in use.
    private func relayedPath(_ datagram: UnsafeMutableRawBufferPointer, _ source: Endpoint) -> Path? {
        guard datagram.count > RelayRoute.headerSize, unsafe datagram[0] == 0xc0, unsafe datagram[1] == 1,
            let relay = relays.firstIndex(where: { $0?.endpoint == source })
        else { return nil }
        let high = UInt64(bigEndian: unsafe datagram.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
        let low = UInt64(bigEndian: unsafe datagram.loadUnaligned(fromByteOffset: 12, as: UInt64.self))
        return .relayed(relay: UInt8(relay), AgentID(high: high, low: low))
    }

    /// A little-endian type of 1…4, which is the type byte and three zeros, and at least the length of a keepalive.
    static func isWireGuard(_ datagram: UnsafeMutableRawBufferPointer) -> Bool {
        guard datagram.count >= 32 else { return false }
        let type = UInt32(littleEndian: unsafe datagram.loadUnaligned(as: UInt32.self))
        return (1...4).contains(type)
    }
}
