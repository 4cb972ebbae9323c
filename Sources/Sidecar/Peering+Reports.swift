import Addressing
import Control
import Membership
import Relay
import Sodium
import Timing
import Traversal
import Tunnel
import WireGuard

// What the tunnel's thread tells the local API.
extension Peering {
    func reports(_ core: borrowing TunnelCore, wall: WallTime) -> [PeerReport] {
        peers.values.sorted { $0.name < $1.name }.map { peer in
            let status = engine.status(of: peer.id)
            let snapshot = core.device.snapshot(peer.device)
            let endpoint: String? =
                if case .direct(_, let endpoint) = status?.path { endpoint.description } else { nil }
            let handshake = snapshot?.lastHandshake
            return PeerReport(
                name: peer.name, id: peer.id.description,
                addresses: peer.record.credential.addresses.map(\.description), publicKey: peer.key.base64,
                path: status?.path.map { $0.isRelayed ? "relay" : "direct" } ?? "none",
                transport: status?.path.map { transport(of: $0) } ?? "", endpoint: endpoint ?? "",
                rttMs: status?.roundTrip?.milliseconds, directAfterMs: peer.directAfter?.milliseconds,
                rxBytes: snapshot?.receivedBytes ?? 0, txBytes: snapshot?.sentBytes ?? 0,
                handshakeAgeS: handshake.map { Double(wall.seconds - $0.seconds) })
        }
    }

    /// What carries the path's packets: UDP, or the stream to its relay.
    private func transport(of path: Path) -> String {
        guard case .relayed(let relay, _) = path else { return "\(RelayTransport.udp)" }
        return homes.uplink(Int(relay))?.active.map { "\($0)" } ?? ""
    }

    /// The relays in use, the homes first.
    var relayReports: [RelayReport] {
        let others = homes.targets.indices.filter { !homes.homes.contains($0) && homes.uplink($0) != nil }
        return (homes.homes + others).map { index in
            let uplink = homes.uplink(index)
            let role = index == homes.homes.first ? "home" : homes.homes.contains(index) ? "warm" : "other"
            let state = uplink?.active == nil ? "down" : homes.isUsable(index) ? "up" : "suspect"
            return RelayReport(
                id: homes.targets[index].id.description, address: place(of: index), role: role, state: state,
                transport: uplink?.active.map { "\($0)" } ?? "", rttMs: uplink?.roundTrip?.milliseconds,
                upAfterMs: upAfter[index]?.milliseconds)
        }
    }

    /// Everything that was dropped, by reason; only what happened.
    func drops(_ core: borrowing TunnelCore) -> [String: UInt64] {
        var drops: [String: UInt64] = [:]
        for reason in WireGuard.DropReason.allCases where core.device.drops[reason] > 0 {
            drops["wireguard-\(reason)"] = core.device.drops[reason]
        }
        let engineCounters = engine.counters
        for (name, count) in [
            ("probe-unknown-peer", engineCounters.unknownPeer), ("probe-malformed", engineCounters.malformed),
            ("probe-forged", engineCounters.authentication), ("probe-replayed", engineCounters.replayed),
            ("probe-foreign-pong", engineCounters.foreignPongs), ("probe-foreign-socket", engineCounters.foreignSocket),
            ("call-excess", engineCounters.excessCalls), ("spray-refused", engineCounters.refusedSprays),
            ("stun-refused", engineCounters.stunRefused),
            ("candidate-refused", engineCounters.refusedTargets), ("probe-over-budget", engineCounters.overBudget),
            ("introduction-unverified", counters.unverifiedIntroductions), ("stranger-refused", strangers.refused),
            ("datagram-unknown", counters.unknownDatagrams), ("address-conflict", counters.addressConflicts),
            ("packet-unresolved", unresolved.dropped), ("frame-malformed", core.counters.malformedFrames),
            ("send-error", core.counters.sendErrors), ("tun-refused", core.counters.tunRefused),
            ("no-relay", core.counters.noRelay), ("stream-unsent", bridge.dropped),
        ] where count > 0 { drops[name] = count }
        return drops
    }

    /// A sealed probe that came as a directory signal.
    mutating func signalled(_ payload: [UInt8], by sender: AgentID, _ core: inout TunnelCore, now: MonotonicTime) {
        // The answer goes back the same way: as if it had come through the peer's relay.
        engine.receive(payload, from: .relayed(relay: 0, sender), now: now)
        perform(&core, now: now)
    }

    /// A renewed credential: relays and introductions use it from now on.
    mutating func renewed(_ credential: [UInt8], now: MonotonicTime) {
        homes.renew(credential: credential, now: now, using: &random)
    }
}
