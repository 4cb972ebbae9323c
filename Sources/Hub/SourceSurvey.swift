package import Addressing

/// Where agents' datagrams seem to come from, to tell when somebody on our side rewrites their source: a Service of
/// Kubernetes does it unless `externalTrafficPolicy` is Local, and some container networks do. STUN then tells agents an
/// address of ours, and no agent reaches another by it.
///
/// The sign is many agents at few private addresses. Agents that share a private address of their own, as behind the NAT
/// of a site that reaches this hub by private ways, look the same: so it is a warning, and no more.
package struct SourceSurvey: Equatable, Sendable {
    /// Below this number of agents nothing is said.
    static let leastAgents = 8
    /// How many agents an address has at least on average when it is taken for a node's.
    static let leastShare = 4

    package let agents: Int
    package let privateAgents: Int
    package let privateAddresses: Int

    /// - Parameter addresses: one for each agent.
    package init(_ addresses: [IPAddress]) {
        agents = addresses.count
        let privates = addresses.filter(Self.isPrivate)
        privateAgents = privates.count
        privateAddresses = Set(privates).count
    }

    /// Whether nine in ten agents share few private addresses.
    package var isBehindNodes: Bool {
        agents >= Self.leastAgents && privateAgents * 10 >= agents * 9
            && privateAddresses * Self.leastShare <= privateAgents
    }

    package var warning: String {
        """
        UDP of \(privateAgents) of \(agents) agents comes from \(privateAddresses) private addresses: if a Service is in front \
        of this hub, give it externalTrafficPolicy: Local; else STUN tells agents an address of a node in place of their own
        """
    }

    private static let privateRanges = [
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7",
        "fe80::/10", "::1/128",
    ].compactMap { IPPrefix($0) }

    private static func isPrivate(_ address: IPAddress) -> Bool {
        if case .v6(let v6) = address, let v4 = v6.embeddedIPv4 { return isPrivate(.v4(v4)) }
        return privateRanges.contains { $0.contains(address) }
    }
}
