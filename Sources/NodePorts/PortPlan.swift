package import Addressing

/// What the administrator gives pods of a node: the same for all networks of the node.
package struct PortPlan: Hashable, Sendable {
    /// The node's ports, for nothing else.
    package let range: ClosedRange<UInt16>
    /// The port in each pod that one of them leads to: the sidecar's.
    package let podPort: UInt16
    /// Destinations that see pods as they are, or as the node's own NAT leaves them: IPv4 only, none inside another.
    package let exceptions: [IPPrefix]

    /// Private and link-local networks, loopback and multicast (RFC 1918, 6598, 3927, 1112): within a cluster pods have
    /// addresses of their own, and policies that go by them.
    package static let privateNetworks = [
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "224.0.0.0/4",
    ].compactMap { IPPrefix($0) }

    /// - Throws: `invalid` for a range with privileged ports, a port 0, or an exception that is no IPv4 network.
    package init(
        range: ClosedRange<UInt16>, podPort: UInt16, exceptions: [IPPrefix] = privateNetworks
    ) throws(NodePortError) {
        guard range.lowerBound >= 1024 else {
            throw .invalid("node ports \(range.lowerBound)-\(range.upperBound): below 1024")
        }
        guard podPort > 0 else { throw .invalid("node ports: the pods' port is 0") }
        for prefix in exceptions {
            guard !prefix.address.isIPv6, prefix.length > 0 else {
                throw .invalid("node ports: the exception \(prefix) is no IPv4 network")
            }
        }
        self.range = range
        self.podPort = podPort
        let networks = Set(exceptions.map(\.masked))
        self.exceptions = networks.filter { one in !networks.contains { $0 != one && $0.contains(one) } }.sorted()
    }

    /// What the rules depend on, as a line of text; another text needs other rules.
    var rules: String { "1 except \(exceptions.map(\.description).joined(separator: " "))" }
}
