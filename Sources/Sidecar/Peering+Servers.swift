import Addressing
import Relay
import Timing
import Traversal
import Tunnel

// Where this agent's own socket can be reached.
extension Peering {
    /// The underlay's own addresses changed.
    mutating func setHostAddresses(_ addresses: [IPAddress], _ core: inout TunnelCore, now: MonotonicTime) {
        let port = core.port
        let before = hostCandidates
        hostCandidates = addresses.map { Candidate(.host, Endpoint($0, port: port)) }
        refreshCandidates(&core, now: now)
        // Connections from an address that is gone will never say so.
        if before.contains(where: { !hostCandidates.contains($0) }) {
            homes.restart(now: now, using: &random)
            performRelays(&core, now: now)
        }
    }

    mutating func refreshCandidates(_ core: inout TunnelCore, now: MonotonicTime) {
        engine.setLocalCandidates(portMappedCandidates + hostCandidates, now: now)
        perform(&core, now: now)
    }
}
