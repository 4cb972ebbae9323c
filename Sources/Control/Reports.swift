// What the sidecar's local API answers, as JSON with these keys: a contract with scripts. Times are in the unit that the
// name ends in. Nothing secret is in it: no key but public ones.

/// The agent itself.
package struct StatusReport: Codable, Sendable, Equatable {
    package var name: String
    package var mesh: String
    package var id: String
    package var addresses: [String]
    /// "accepted", "joining" or "unreachable"; `hubDetail` says why.
    package var hub: String
    package var hubDetail: String
    package var ready: Bool
    /// Required peers whose handshake is not verified yet.
    package var waitingFor: [String]
    package var publicKey: String
    package var listenPort: UInt16
    /// What STUN saw, as `ADDRESS:PORT`; empty when no answer came.
    package var mapped: [String]
    /// How the NAT maps and filters, in one line in the words of RFC 4787; empty while it is not known.
    package var nat: String
    /// What the gateway forwards to `listenPort`, as `ADDRESS:PORT`; empty where it does not.
    package var portMapped: String
    /// Where the home relay is, and whether it is up.
    package var relay: String
    package var relayUp: Bool
    /// All relays in use: the home, the warm one, and those that peers are at.
    package var relays: [RelayReport]
    package var credentialExpiresInSeconds: Int64
    package var uptimeSeconds: Double
    /// Packets dropped, by reason; only reasons that happened.
    package var drops: [String: UInt64]
    /// Memory for secrets: slabs mapped, and how many of them mlock(2) accepted.
    package var secretSlabs: Int
    package var lockedSecretSlabs: Int
    /// The mesh's names; nil where this pod has no resolver of ours.
    package var dns: DNSReport?

    package init(
        name: String, mesh: String, id: String, addresses: [String], hub: String, hubDetail: String, ready: Bool,
        waitingFor: [String], publicKey: String, listenPort: UInt16, mapped: [String], nat: String = "",
        portMapped: String = "", relay: String, relayUp: Bool, relays: [RelayReport] = [],
        credentialExpiresInSeconds: Int64, uptimeSeconds: Double, drops: [String: UInt64], secretSlabs: Int,
        lockedSecretSlabs: Int, dns: DNSReport? = nil
    ) {
        self.name = name
        self.mesh = mesh
        self.id = id
        self.addresses = addresses
        self.hub = hub
        self.hubDetail = hubDetail
        self.ready = ready
        self.waitingFor = waitingFor
        self.publicKey = publicKey
        self.listenPort = listenPort
        self.mapped = mapped
        self.nat = nat
        self.portMapped = portMapped
        self.relay = relay
        self.relayUp = relayUp
        self.relays = relays
        self.credentialExpiresInSeconds = credentialExpiresInSeconds
        self.uptimeSeconds = uptimeSeconds
        self.drops = drops
        self.secretSlabs = secretSlabs
        self.lockedSecretSlabs = lockedSecretSlabs
        self.dns = dns
    }
}

/// The pod's resolver.
package struct DNSReport: Codable, Sendable, Equatable {
    package var domain: String
    /// Where it answers, as `ADDRESS:PORT`.
    package var resolvers: [String]
    /// Who answers what is not the mesh's, as `ADDRESS:PORT`.
    package var upstreams: [String]
    package var upstreamsDown: Bool
    /// Queries by outcome; only those that happened.
    package var queries: [String: UInt64]

    package init(
        domain: String, resolvers: [String], upstreams: [String], upstreamsDown: Bool, queries: [String: UInt64]
    ) {
        self.domain = domain
        self.resolvers = resolvers
        self.upstreams = upstreams
        self.upstreamsDown = upstreamsDown
        self.queries = queries
    }
}

/// A relay that this agent uses.
package struct RelayReport: Codable, Sendable, Equatable {
    package var id: String
    /// By the transport that it is reached by: an address and UDP port, or a host and TCP port.
    package var address: String
    /// "home", where others reach us; "warm", where they do when that is gone; or "other", which a peer is at.
    package var role: String
    /// "up", "suspect" (silent while data is sent), or "down".
    package var state: String
    /// "udp", "tls", or "proxy" for TLS through an HTTP proxy; empty while it is down.
    package var transport: String
    package var rttMs: Double?
    /// From the start of the tunnel to the first registration.
    package var upAfterMs: Double?

    package init(
        id: String, address: String, role: String, state: String, transport: String, rttMs: Double?, upAfterMs: Double?
    ) {
        self.id = id
        self.address = address
        self.role = role
        self.state = state
        self.transport = transport
        self.rttMs = rttMs
        self.upAfterMs = upAfterMs
    }
}

/// One peer that this agent has talked to.
package struct PeerReport: Codable, Sendable, Equatable {
    package var name: String
    package var id: String
    package var addresses: [String]
    package var publicKey: String
    /// "direct", "relay" or "none".
    package var path: String
    /// What carries the path's packets from here: "udp", "tls", or "proxy" for TLS through an HTTP proxy; else empty.
    package var transport: String
    /// The remote endpoint of a direct path; empty otherwise.
    package var endpoint: String
    package var rttMs: Double?
    /// From learning of the peer to its first direct path.
    package var directAfterMs: Double?
    package var rxBytes: UInt64
    package var txBytes: UInt64
    package var handshakeAgeS: Double?

    package init(
        name: String, id: String, addresses: [String], publicKey: String, path: String, transport: String,
        endpoint: String, rttMs: Double?, directAfterMs: Double?, rxBytes: UInt64, txBytes: UInt64,
        handshakeAgeS: Double?
    ) {
        self.name = name
        self.id = id
        self.addresses = addresses
        self.publicKey = publicKey
        self.path = path
        self.transport = transport
        self.endpoint = endpoint
        self.rttMs = rttMs
        self.directAfterMs = directAfterMs
        self.rxBytes = rxBytes
        self.txBytes = txBytes
        self.handshakeAgeS = handshakeAgeS
    }
}

/// Who an agent is, by its verified credential: the answer to `whois` and `resolve`.
package struct IdentityReport: Codable, Sendable, Equatable {
    package var name: String
    package var id: String
    package var addresses: [String]
    /// The SPIFFE ID in the credential.
    package var subject: String

    package init(name: String, id: String, addresses: [String], subject: String) {
        self.name = name
        self.id = id
        self.addresses = addresses
        self.subject = subject
    }
}

/// The one answer of the local API: what was asked for, or why not.
package struct ControlAnswer: Codable, Sendable, Equatable {
    package var error: String?
    package var status: StatusReport?
    package var peers: [PeerReport]?
    package var identity: IdentityReport?
    package var netcheck: NetcheckReport?

    package init(
        error: String? = nil, status: StatusReport? = nil, peers: [PeerReport]? = nil, identity: IdentityReport? = nil,
        netcheck: NetcheckReport? = nil
    ) {
        self.error = error
        self.status = status
        self.peers = peers
        self.identity = identity
        self.netcheck = netcheck
    }
}

/// What can be asked: one line of text.
package enum ControlRequest: Equatable, Sendable {
    case status
    case peers
    /// Who holds a virtual address.
    case whois(String)
    /// Which agent has a name.
    case resolve(String)
    /// How the network around the agent is: some seconds.
    case netcheck
    /// Whether the threads that move packets get on with what they have.
    case live
    /// Give up the credential and stop.
    case leave

    package static let maximumLength = 512

    package var line: String {
        switch self {
        case .status: "status"
        case .peers: "peers"
        case .whois(let address): "whois \(address)"
        case .resolve(let name): "resolve \(name)"
        case .netcheck: "netcheck"
        case .live: "live"
        case .leave: "leave"
        }
    }

    /// Nil for what is not a request.
    package init?(line: some StringProtocol) {
        let words = String(line).split(separator: " ").map(String.init)
        switch (words.first, words.count) {
        case ("status", 1): self = .status
        case ("peers", 1): self = .peers
        case ("whois", 2): self = .whois(words[1])
        case ("resolve", 2): self = .resolve(words[1])
        case ("netcheck", 1): self = .netcheck
        case ("live", 1): self = .live
        case ("leave", 1): self = .leave
        default: return nil
        }
    }
}
