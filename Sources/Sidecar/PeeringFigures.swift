import Addressing
import Control
import Metrics
import Relay
import Timing
import Traversal
import Tunnel
import WireGuard

/// What the tunnel's thread tells of itself at one time, for metrics.
struct PeeringFigures: Sendable {
    /// How old a peer's session can be: those up to the first are in use, those beyond the second can carry nothing any
    /// more (WireGuard's rekeyAfterTime, rejectAfterTime).
    enum Age: String, CaseIterable, Sendable {
        case fresh = "up to 120 s"
        case old = "up to 180 s"
        case ended = "more"
        case never = "none"
    }

    var paths: [Counters.PathKind: Int] = [:]
    var ages: [Age: Int] = [:]
    var counters = Peering.Counters()
    var engine = Engine.Counters()
    var behavior = NATBehavior()
    var drops: [String: UInt64] = [:]
    var relays: [RelayReport] = []
    var queueBytes = 0
    /// Those used last.
    var peers: [PeerReport] = []

    typealias Counters = Peering.Counters
}

extension Peering {
    func figures(_ core: borrowing TunnelCore, peers limit: Int, wall: WallTime) -> PeeringFigures {
        var figures = PeeringFigures()
        for peer in peers.values {
            figures.paths[Counters.PathKind(engine.status(of: peer.id)?.path), default: 0] += 1
            let handshake = core.device.snapshot(peer.device)?.lastHandshake
            let age: PeeringFigures.Age =
                switch handshake.map({ wall.seconds - $0.seconds }) {
                case nil: .never
                case let seconds? where seconds <= 120: .fresh
                case let seconds? where seconds <= 180: .old
                default: .ended
                }
            figures.ages[age, default: 0] += 1
        }
        figures.counters = counters
        figures.engine = engine.counters
        figures.behavior = engine.behavior
        figures.drops = drops(core)
        figures.relays = relayReports
        figures.queueBytes = bridge.backlog
        if limit > 0 {
            let last = Set(peers.values.sorted { $0.lastUsed > $1.lastUsed }.prefix(limit).map(\.id.description))
            figures.peers = reports(core, wall: wall).filter { last.contains($0.id) }
        }
        return figures
    }
}
