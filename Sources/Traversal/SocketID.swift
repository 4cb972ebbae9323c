package import Addressing

/// A UDP socket of this agent, as the engine names it.
///
/// 0 and 1 are the home sockets for IPv4 and IPv6. Others are opened for a purpose and have a number that is not used
/// again; one that wins is adopted into the tunnel's socket table, where it has an index of its own.
package struct SocketID: Hashable, Sendable {
    package let number: UInt32

    package init(number: UInt32) { self.number = number }

    package static let homeIPv4 = SocketID(number: 0)
    package static let homeIPv6 = SocketID(number: 1)

    package static func home(for address: IPAddress) -> SocketID { address.isIPv6 ? homeIPv6 : homeIPv4 }

    package var isHome: Bool { number < 2 }
}

/// A direct way to a peer: from one of our sockets to one of its endpoints.
package struct Route: Hashable, Sendable {
    package var socket: SocketID
    package var remote: Endpoint

    package init(_ socket: SocketID, _ remote: Endpoint) {
        self.socket = socket
        self.remote = remote
    }
}

/// Where a probe came from or goes to.
enum Way: Hashable, Sendable {
    case direct(Route)
    /// A relayed `Path`.
    case relayed(Path)
}
