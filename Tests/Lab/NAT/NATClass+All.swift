import NATBox

extension NATClass {
    /// Every class of the lab, from the easiest to the hardest to be reached through.
    package static let all: [NATClass] = cones + symmetric + special + blocked

    /// Endpoint-independent mappings: simultaneous open works among all of them.
    package static let cones: [NATClass] = [
        NATClass(
            "open", "1:1 NAT, no filter", .open, .init(.endpointIndependent, .endpointIndependent, .preserving),
            .oneToOne),
        NATClass(
            "full-cone", "full cone", .eif, .init(.endpointIndependent, .endpointIndependent, .preserving), .fullCone),
        NATClass(
            "hairpin", "full cone with hairpinning", .eif,
            .init(.endpointIndependent, .endpointIndependent, .preserving), .hairpin),
        NATClass(
            "restricted", "restricted cone", .adf, .init(.endpointIndependent, .addressDependent, .preserving),
            .restrictedCone),
        NATClass(
            "port-restricted", "port-restricted cone: a home router that masquerades", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .preserving), .portRestricted),
        NATClass(
            "poison", "the same, where an unasked packet leaves a conntrack entry: a Kubernetes node, a NAT VM", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .preserving), .poisonProne),
        NATClass(
            "rewritten", "port-restricted with another port outside", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .rewritten), .rewritten(seed: 1)),
        NATClass(
            "cgn", "a home router behind a provider's port-restricted NAT", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .preserving), .portRestricted, behind: .portRestricted
        ),
        NATClass(
            "cgn-cone", "a home router behind a provider's full cone", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .preserving), .portRestricted, behind: .fullCone),
        NATClass(
            "short", "port-restricted, bindings live for 3 s", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .preserving), .shortLived(seconds: 3)),
        NATClass(
            "lossy", "port-restricted, a fifth of all datagrams is lost", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .preserving), .lossy(percent: 20)),
        NATClass(
            "node-mapped", "a random node NAT with the CNI's fixed port for the pod", .eif,
            .init(.endpointIndependent, .endpointIndependent, .rewritten), .nodeMapped(port: 31001)),
    ]

    /// A mapping for each destination: what simultaneous open alone does not cross.
    package static let symmetric: [NATClass] = [
        NATClass(
            "symmetric-eif", "symmetric, no filter", .anyEIF,
            .init(.addressAndPortDependent, .endpointIndependent, .random(1024...65535)), .symmetricFullCone),
        NATClass(
            "symmetric-adf", "symmetric, filters by address", .anyADF,
            .init(.addressAndPortDependent, .addressDependent, .random(1024...65535)), .symmetricRestricted),
        NATClass(
            "sequential", "symmetric, ports one after the other", .sequential,
            .init(.addressAndPortDependent, .addressAndPortDependent, .sequential), .sequential),
        NATClass(
            "block", "symmetric within 64 ports a customer", .block(64),
            .init(.addressAndPortDependent, .addressAndPortDependent, .random(20000...20063)), .portRange(20000...20063)
        ),
        NATClass(
            "range", "symmetric within 1024 ports", .block(1024),
            .init(.addressAndPortDependent, .addressAndPortDependent, .random(1024...2047)), .portRange(1024...2047)),
        NATClass(
            "address-dependent", "a mapping for each address", .random,
            .init(.addressDependent, .addressAndPortDependent, .rewritten), .addressDependent),
        NATClass(
            "symmetric", "symmetric, any of 64k ports: a cloud's NAT gateway, a node with --random-fully", .random,
            .init(.addressAndPortDependent, .addressAndPortDependent, .random(1024...65535)), .symmetric),
        NATClass(
            "cgn-symmetric", "a home router behind a provider's symmetric NAT", .random,
            .init(.addressAndPortDependent, .addressAndPortDependent, .random(1024...65535)), .portRestricted,
            behind: .symmetric),
        NATClass(
            "ipv6", "symmetric by IPv4; IPv6 behind a firewall that lets answers in", .dual,
            .init(.addressAndPortDependent, .addressAndPortDependent, .random(1024...65535)), .symmetricWithIPv6),
        NATClass(
            "pool", "four addresses, chosen for each destination", .pool(4),
            .init(.addressAndPortDependent, .addressAndPortDependent, .preserving), .pool),
    ]

    /// What only the userspace NAT does; its networks are the site's.
    package static let special: [NATClass] = [
        NATClass(
            "random-port", "port-restricted, the outside port drawn at random, kept alive by what goes out", .apdf,
            .init(.endpointIndependent, .addressAndPortDependent, .random(1024...65535)),
            .userspace(behaviour { $0.allocation = .random })),
        NATClass(
            "small-table", "symmetric with room for 1,000 mappings, no ICMP errors", .random,
            .init(.addressAndPortDependent, .addressAndPortDependent, .random(1024...65535)),
            .userspace(
                behaviour {
                    $0.mapping = .addressAndPort
                    $0.allocation = .random
                    $0.capacity = 1000
                    $0.passesErrors = false
                })),
    ]

    private static func behaviour(_ change: (inout BoxBehaviour) -> Void) -> BoxBehaviour {
        var behaviour = BoxBehaviour(inside: "0.0.0.0/0", outside: [])
        change(&behaviour)
        return behaviour
    }

    /// No UDP at all: the relay over TLS, if that.
    package static let blocked: [NATClass] = [
        NATClass("udp-blocked", "TCP only", .blocked, nil, .udpBlocked),
        NATClass("tcp-443", "TCP to port 443 only", .blocked, nil, .only443),
        NATClass("proxy", "an HTTP proxy with a password, and nothing else", .blocked, nil, .proxyOnly),
    ]

    /// Where no tunnel can be: what `netcheck` has to name. Not among `all`.
    package static let hostile: [NATClass] = [
        NATClass("captive", "a captive portal", .blocked, nil, .captivePortal),
        NATClass("intercepted", "a proxy that intercepts TLS", .blocked, nil, .interceptingProxy),
    ]
}
