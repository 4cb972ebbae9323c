/// How packets reach a peer: from one of our sockets to a remote endpoint, or through a relay to an agent id.
///
/// The send path never assumes one descriptor: a probe can win on another socket than the home one.
package enum Path: Hashable, Sendable {
    /// `socket` is an index into the tunnel's socket table; 0 and 1 are the home sockets for IPv4 and IPv6.
    case direct(socket: UInt8, Endpoint)
    /// `relay` is an index into the tunnel's relay table.
    case relayed(relay: UInt8, AgentID)

    package var isRelayed: Bool {
        if case .relayed = self { true } else { false }
    }
}

extension Path: CustomStringConvertible {
    package var description: String {
        switch self {
        case .direct(_, let endpoint): "direct \(endpoint)"
        case .relayed(let relay, _): "relay \(relay)"
        }
    }
}
