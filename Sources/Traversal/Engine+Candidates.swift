package import Addressing
import Timing

// Candidates: what peers are told that we may be reached at.
extension Engine {
    /// How servers see our home sockets.
    package var reflexive: [Endpoint] {
        localCandidates.filter { $0.kind == .serverReflexive || isNodeMapped($0.endpoint) }.map(\.endpoint)
    }

    /// How servers see our home socket for IPv4.
    var reflexiveAddress: IPAddress? {
        discovery.samples.samples.first { $0.socket == .homeIPv4 }?.mapped.address
    }

    /// Whether our NAT has several addresses.
    var isPooled: Bool { discovery.samples.isPooled(.homeIPv4, hosts: Set(hostCandidates.map(\.endpoint))) }

    /// Whether a server sees the home socket at the port that its node is said to map: nobody else says that it does.
    func isNodeMapped(_ mapped: Endpoint) -> Bool {
        !mapped.address.isIPv6 && mapped.port == configuration.nodePort
    }

    /// What works across NATs comes first: the list is cut at eight.
    func composedCandidates() -> [Candidate] {
        let hosts = Set(hostCandidates.map(\.endpoint))
        var seen: [Endpoint] = []
        for sample in discovery.samples.samples
        where sample.socket.isHome && !hosts.contains(sample.mapped) && !seen.contains(sample.mapped) {
            // Each address of a pool, and few ports of one.
            if seen.filter({ $0.address == sample.mapped.address }).count < 2 { seen.append(sample.mapped) }
        }
        if discovery.isSeenTwice, seen.isEmpty, let other = discovery.seen { seen.append(other.mapped) }
        let mapped = hostCandidates.filter { $0.kind == .nodeMapped || $0.kind == .portMapped }
        let rest = hostCandidates.filter { $0.kind != .nodeMapped && $0.kind != .portMapped }
        if isPooled {
            seen += AddressPool.neighbours(
                of: seen.filter { !$0.address.isIPv6 },
                limit: Call.maximumCandidates - mapped.count - min(rest.count, 2) - seen.count)
        }
        let reflexive = seen.prefix(isPooled ? Call.maximumCandidates : 4).map {
            Candidate(isNodeMapped($0) ? .nodeMapped : .serverReflexive, $0)
        }
        return Array((mapped + reflexive + rest).prefix(Call.maximumCandidates))
    }

    /// A peer sees one of our home sockets there, which counts where no server says so, and two peers say the same.
    mutating func seen(_ mapped: Endpoint, by peer: PeerState, on route: Route, now: MonotonicTime) {
        guard route.socket == .homeIPv4 || route.socket == .homeIPv6, !configuration.policy.refuses(mapped),
            !mapped.address.isPrivate, mapped.address.isIPv6 == route.remote.address.isIPv6,
            !hostCandidates.contains(where: { $0.endpoint == mapped }),
            !discovery.samples.samples.contains(where: { $0.socket == route.socket })
        else { return }
        if let first = discovery.seen, first.peer != peer.id, first.mapped == mapped {
            discovery.isSeenTwice = true
            candidatesChanged(now: now)
        } else if discovery.seen == nil || !discovery.isSeenTwice {
            discovery.seen = (mapped, peer.id)
        }
    }
}
