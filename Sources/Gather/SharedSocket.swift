import Transport

/// A UDP socket with shared ownership, so that it can be optional and in arrays.
final class SharedSocket: Sendable {
    let udp: UDPSocket
    init(_ udp: consuming UDPSocket) { self.udp = udp }
}
