import Addressing
import Directory
import Membership
import Relay
import RelayStream
import Timing

/// How the mesh's relays can be reached from here: by UDP, by TLS, and by TLS through the proxy of this process's environment.
struct RelayUplinks {
    /// What a path's relay index can name.
    static let limit = 16
    /// Where there is a proxy it is asked before the straight way is tried: it was set up because that leads nowhere.
    private static let straightAfterProxy = Interval.milliseconds(150)

    /// Those that can be reached at all.
    let relays: [MeshInfo.Relay]
    /// For streams, at the same index.
    let connectors: [RelayStreams.Connectors]
    private let targets: [RelayHomes.Target]

    init(_ relays: [MeshInfo.Relay], _ proxies: ProxyRules) {
        self.relays = Array(relays.filter { !$0.endpoints.isEmpty || !$0.streams.isEmpty }.prefix(Self.limit))
        connectors = self.relays.map { relay in
            guard let stream = relay.streams.first else { return RelayStreams.Connectors(tls: nil) }
            return RelayStreams.Connectors(
                tls: RelayStreamConnector(to: stream.address, pin: stream.pin),
                proxy: proxies.proxy(for: stream.address.host).map {
                    RelayStreamConnector(to: stream.address, pin: stream.pin, proxy: $0)
                })
        }
        targets = zip(self.relays, connectors).map { relay, connectors in
            var transports: Set<RelayTransport> = []
            if !relay.endpoints.isEmpty { transports.insert(.udp) }
            if connectors.tls != nil { transports.insert(.tls) }
            if connectors.proxy != nil { transports.insert(.proxy) }
            return RelayHomes.Target(
                id: relay.id, endpoint: relay.endpoints.first ?? Endpoint(.v4(.any), port: 0), transports: transports)
        }
    }

    /// Begins to register with the first of them.
    func homes(_ identity: Identity, credential: [UInt8], now: MonotonicTime) -> RelayHomes {
        var configuration = RelayHomes.Configuration()
        if targets.contains(where: { $0.transports.contains(.proxy) }) {
            configuration.uplink.proxyStart = configuration.uplink.tlsStart
            configuration.uplink.tlsStart = Self.straightAfterProxy
        }
        return RelayHomes(
            targets, identity: RelayClient.Identity(key: identity.publicKey) { identity.sign($0) },
            credential: credential, configuration, now: now)
    }
}
