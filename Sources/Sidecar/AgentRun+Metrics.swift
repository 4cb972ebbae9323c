import Control
import Membership
import Metrics
import Scrape
import Sodium
import Synchronization
import Timing
import Traversal
import Tunnel

// What the sidecar tells Prometheus. The number of series does not grow with the mesh, unless it is told to.
extension AgentRun {
    /// How long the tunnel's thread gets to answer.
    private static let patience = Interval.seconds(2)

    /// Blocks the calling thread, which is none of the tunnel's and no task's.
    func metrics() -> String {
        var page = Exposition(prefix: "warren_")
        writeState(to: &page)
        if let joined = joined.withLock({ $0 }) {
            let limit = configuration.metricsPeers
            let figures = joined.tunnel.askAndWait(within: Self.patience) { core, peering in
                peering.figures(core, peers: limit, wall: .now())
            }
            let (sent, received) = (joined.tunnel.sent, joined.tunnel.received)
            page.counter(
                "packets_total", "Packets of the pod's that went through the tunnel.", by: "direction",
                [("out", sent.packets), ("in", received.packets)])
            page.counter(
                "bytes_total", "Bytes of these packets, those out with their padding, without what carries them.",
                by: "direction",
                [("out", sent.bytes), ("in", received.bytes)])
            if let figures { figures.write(to: &page) }
        }
        ProcessFigures.write(to: &page)
        return page.text
    }

    private func writeState(to page: inout Exposition) {
        let state = status.now
        page.gauge(
            "ready", "Whether the agent is announced and its required peers are verified.", isTrue: state.isReady)
        page.gauge("start_ready_seconds", "From the process's start to when it was ready first.", state.readyAfter)
        page.gauge("draining", "Whether the agent is about to end.", isTrue: state.isDraining)
        page.gauge("hub_connected", "Whether the directory is connected.", isTrue: state.hub == .accepted)
        page.gauge(
            "required_peers_waiting", "Required peers whose handshake is not verified yet.", state.waitingFor.count)
        page.gauge(
            "credential_expiry_timestamp_seconds", "When the credential ends, in Unix time.",
            state.credential.map { Double($0.expires.seconds) })
        let slabs = SecretSlab.shared.report
        page.gauge(
            "secret_slabs", "Pieces of memory for secrets, by whether they are kept from swap.", by: "state",
            [("locked", slabs.locked), ("unlocked", slabs.slabs - slabs.locked)])
    }
}

extension PeeringFigures {
    fileprivate func write(to page: inout Exposition) {
        page.gauge(
            "peers", "Peers by the path to them.", by: "path",
            Counters.PathKind.allCases.map { ($0.rawValue, paths[$0] ?? 0) })
        page.gauge(
            "peer_handshake_age", "Peers by how old their session is.", by: "age",
            Age.allCases.map { ($0.rawValue, ages[$0] ?? 0) })
        page.counter("handshakes_total", "Sessions agreed on with peers.", counters.handshakes)
        page.counter("rekeys_total", "Those of them that took the place of another.", counters.rekeys)
        page.counter(
            "probes_sent_total", "Pings by paths in use, when something may be wrong or better.", engine.sentProbes)
        page.counter("probes_answered_total", "Those of them that were answered in time.", engine.answeredProbes)
        page.counter("probes_lost_total", "Those of them that were not.", engine.lostProbes)
        page.histogram("round_trip_seconds", "How long answers to pings took, by whatever path.", engine.roundTrips)
        page.counter(
            "path_changes_total", "Changes of the path to a peer, by what it became.", by: "to",
            Counters.PathKind.allCases.map { ($0.rawValue, counters.pathChanges[$0] ?? 0) })
        page.gauge(
            "nat", "How the NAT in front of this agent maps and filters (RFC 4787).",
            samples: [([("mapping", behavior.mapping.label), ("filtering", behavior.filtering.label)], 1)])
        page.counter(
            "drops_total", "Packets and datagrams dropped.", by: "reason",
            drops.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        page.gauge(
            "relays", "Relays in use, by their state.", by: "state",
            ["up", "suspect", "down"].map { state in (state, relays.count { $0.state == state }) })
        page.gauge(
            "relay_uplinks", "Relays that are up, by what carries the way to them.", by: "transport",
            ["udp", "tls", "proxy"].map { transport in (transport, relays.count { $0.transport == transport }) })
        page.gauge(
            "relay_round_trip_seconds", "To the home relay and back.",
            relays.first { $0.role == "home" }?.rttMs.map { $0 / 1000 })
        page.gauge("relay_queue_bytes", "What waits for streams to relays that are too slow.", queueBytes)
        if !peers.isEmpty { writePeers(to: &page) }
    }

    private func writePeers(to page: inout Exposition) {
        page.gauge(
            "peer_path", "The path to a peer.",
            samples: peers.map { ([("peer", $0.name), ("path", $0.path)], 1) })
        page.counter(
            "peer_receive_bytes_total", "Authenticated bytes from a peer, as datagrams.", by: "peer",
            peers.map { ($0.name, $0.rxBytes) })
        page.counter(
            "peer_transmit_bytes_total", "Authenticated bytes to a peer, as datagrams.", by: "peer",
            peers.map { ($0.name, $0.txBytes) })
        page.gauge(
            "peer_round_trip_seconds", "To a peer by its direct path and back.", by: "peer",
            peers.compactMap { peer in peer.rttMs.map { (peer.name, $0 / 1000) } })
        page.gauge(
            "peer_handshake_age_seconds", "Since the last session was agreed on with a peer.", by: "peer",
            peers.compactMap { peer in peer.handshakeAgeS.map { (peer.name, $0) } })
    }
}

extension NATBehavior.Mapping {
    fileprivate var label: String {
        switch self {
        case .unknown: "unknown"
        case .none: "none"
        case .endpointIndependent: "endpoint-independent"
        case .addressDependent: "address-dependent"
        case .addressAndPortDependent: "address and port-dependent"
        case .blocked: "blocked"
        }
    }
}

extension NATBehavior.Filtering {
    fileprivate var label: String {
        switch self {
        case .unknown: "unknown"
        case .endpointIndependent: "endpoint-independent"
        case .addressDependent: "address-dependent"
        case .addressAndPortDependent: "address and port-dependent"
        }
    }
}
