// What `warren netcheck` finds out about the network around an agent, as JSON with these keys: a contract with scripts.
// Times are in the unit that the name ends in. No credentials are in it.

/// The network around this agent, and what can be reached from here.
package struct NetcheckReport: Codable, Sendable, Equatable {
    /// This host's own addresses, and the router that IPv4 leaves by.
    package var addresses: [String] = []
    package var gateway: String?
    /// As STUN servers see us; nil where the host has no address of the family, or no server is known.
    package var ipv4: NATReport?
    package var ipv6: NATReport?
    /// By protocol, best first: PCP, NAT-PMP, UPnP IGD.
    package var portMapping: [PortMappingReport] = []
    package var hub: ReachReport?
    package var relays: [RelayReachReport] = []
    /// The proxy that was tried too, without credentials.
    package var proxy: String?
    /// Who answered for addresses that are not his: where a browser would be sent, if that was said.
    package var captivePortal: String?
    /// Who presented another certificate than the pinned one, as the certificate names its issuer.
    package var interceptingProxy: String?
    /// One line each, most important first, with what to do; empty when all is well.
    package var problems: [String] = []
    package var seconds = 0.0

    package init() {}
}

/// How one address family looks from outside.
package struct NATReport: Codable, Sendable, Equatable {
    /// Whether any STUN server answered over UDP.
    package var udp: Bool
    /// Our endpoints outside, as ADDRESS:PORT.
    package var mapped: [String]
    /// Nil where it could not be told.
    package var isTranslated: Bool?
    /// "endpoint-independent", "address-dependent", "address and port-dependent" (RFC 4787).
    package var mapping: String?
    package var filtering: String?
    /// "port-preserving", "sequential ports (+1)", "ports from a small block (LOWEST to HIGHEST seen)", "random ports".
    package var allocation: String?
    /// "paired" or "arbitrary".
    package var pooling: String?
    /// All of it in one line.
    package var summary: String

    package init(
        udp: Bool, mapped: [String], isTranslated: Bool?, mapping: String?, filtering: String?, allocation: String?,
        pooling: String?, summary: String
    ) {
        self.udp = udp
        self.mapped = mapped
        self.isTranslated = isTranslated
        self.mapping = mapping
        self.filtering = filtering
        self.allocation = allocation
        self.pooling = pooling
        self.summary = summary
    }
}

/// One port mapping protocol at the gateway.
package struct PortMappingReport: Codable, Sendable, Equatable {
    package var name: String
    /// "found", "absent" or "refused".
    package var state: String
    /// The gateway's address outside, if it said it.
    package var external: String?
    /// Why not, where it is refused.
    package var detail: String?

    package init(name: String, state: String, external: String?, detail: String?) {
        self.name = name
        self.state = state
        self.external = external
        self.detail = detail
    }
}

/// Whether something answers.
package struct ReachReport: Codable, Sendable, Equatable {
    /// HOST:PORT.
    package var address: String
    /// "reachable", "refused", "timeout", "unreachable", "no-address", "intercepted", "not-tls", "proxy-refused" or
    /// "proxy-unreachable".
    package var state: String
    /// One round trip: a STUN answer, or TCP's handshake.
    package var rttMs: Double?
    /// From the beginning to the end of the TLS handshake.
    package var readyMs: Double?
    package var detail: String?

    package init(address: String, state: String, rttMs: Double? = nil, readyMs: Double? = nil, detail: String? = nil) {
        self.address = address
        self.state = state
        self.rttMs = rttMs
        self.readyMs = readyMs
        self.detail = detail
    }

    package var isReachable: Bool { state == "reachable" }
}

/// One relay, by each way there is to it.
package struct RelayReachReport: Codable, Sendable, Equatable {
    package var id: String
    package var udp: [ReachReport]
    package var tls: ReachReport?
    /// TLS through the proxy, if there is one.
    package var proxy: ReachReport?

    package init(id: String, udp: [ReachReport], tls: ReachReport?, proxy: ReachReport?) {
        self.id = id
        self.udp = udp
        self.tls = tls
        self.proxy = proxy
    }

    package var isReachable: Bool {
        udp.contains(where: \.isReachable) || tls?.isReachable == true || proxy?.isReachable == true
    }
}
