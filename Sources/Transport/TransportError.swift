package import Addressing
package import Linux

/// Why a socket or a buffer can't be had. What goes wrong with a single datagram is counted, not thrown.
package enum TransportError: Error, Hashable, Sendable {
    /// Another socket has the port.
    case portInUse(Endpoint)
    /// The address is not one of this host's.
    case addressNotAvailable(Endpoint)
    /// The kernel has no such address family (IPv6 is off).
    case familyNotSupported(AddressFamily)
    case system(SystemError)
}

extension TransportError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .portInUse(let endpoint): "bind \(endpoint): the port is in use: choose another or 0"
        case .addressNotAvailable(let endpoint): "bind \(endpoint): not an address of this host"
        case .familyNotSupported(let family): "no \(family) in this kernel"
        case .system(let error): error.description
        }
    }
}

/// The address family of a socket.
package enum AddressFamily: Hashable, Sendable, CustomStringConvertible {
    case ipv4
    case ipv6

    package init(of address: IPAddress) { self = address.isIPv6 ? .ipv6 : .ipv4 }

    package var description: String { self == .ipv6 ? "IPv6" : "IPv4" }
}
