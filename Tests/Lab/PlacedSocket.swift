package import Addressing
import Glibc
import Linux
import Transport

/// A UDP socket that was made in a namespace and is used from here: both ends of a measurement share one clock.
package final class PlacedSocket: Sendable {
    private let socket: UDPSocket

    private init(_ socket: consuming UDPSocket) { self.socket = socket }

    /// Binds to `address`, which is the namespace's, and `port`, or a free one for 0.
    package static func bind(in namespace: Namespace, _ address: String, port: UInt16 = 0) throws -> PlacedSocket {
        guard let address = IPAddress(address) else { throw LabError.unexpected("\(address) is no address") }
        return try NetworkNamespace(path: namespace.path).run {
            PlacedSocket(try UDPSocket(address.isIPv6 ? .ipv6 : .ipv4, address: address, port: port))
        }
    }

    package var port: UInt16 { socket.port }
    /// For poll(2).
    package var raw: Int32 { socket.raw }

    /// Sends; what does not fit, or cannot be sent now, is lost, as on a network.
    package func send(_ datagram: [UInt8], to endpoint: Endpoint) { _ = socket.send(datagram, to: endpoint) }

    /// From now on datagrams end at the `hops`th router; 64 is what the kernel starts with.
    package func setTimeToLive(_ hops: Int32) throws {
        var hops = hops
        guard unsafe setsockopt(socket.raw, Int32(IPPROTO_IP), IP_TTL, &hops, 4) == 0 else {
            throw LabError.system("set IP_TTL", errno: errno)
        }
    }

    /// The next datagram and its source; nil when none comes within `timeout` seconds.
    package func receive(timeout: Double) -> (bytes: [UInt8], source: Endpoint)? {
        let deadline = Clock.now + timeout
        while true {
            var buffer = [UInt8](repeating: 0, count: 2048)
            if let result = unsafe buffer.withUnsafeMutableBytes({ unsafe socket.receive(into: $0) }) {
                return (Array(buffer.prefix(result.length)), result.source)
            }
            let left = deadline - Clock.now
            guard left > 0 else { return nil }
            var event = pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0)
            _ = unsafe poll(&event, 1, Int32((left * 1000).rounded(.up)))
        }
    }
}
