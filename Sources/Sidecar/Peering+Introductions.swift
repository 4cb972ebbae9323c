import Addressing
import Membership
import Timing
import Tunnel
import WireGuard

// Initiators introduce themselves; responders ask no server.
extension Peering {
    mutating func willSend(_ output: Output, _ core: inout TunnelCore, now: MonotonicTime) {
        guard output.kind == .initiation, output.path.isRelayed, let id = output.peer, let peer = byDevice[id] else {
            return
        }
        for part in introduction { core.send(part, on: output.path) }
        peer.introduction = MeshPeer.PendingIntroduction(
            initiation: output.bytes, path: output.path, next: now + MeshPeer.PendingIntroduction.spacing[0])
        nextIntroduction = min(nextIntroduction, now + MeshPeer.PendingIntroduction.spacing[0])
    }

    mutating func repeatIntroductions(_ core: inout TunnelCore, now: MonotonicTime) {
        guard nextIntroduction <= now else { return }
        defer { nextIntroduction = peers.values.lazy.compactMap(\.introduction?.next).min() ?? .never }
        for peer in peers.values {
            guard let pending = peer.introduction, pending.next <= now else { continue }
            let spacing = MeshPeer.PendingIntroduction.spacing
            guard pending.repeats + 1 < spacing.count else {
                peer.introduction = nil
                continue
            }
            for part in introduction { core.send(part, on: pending.path) }
            core.send(pending.initiation, on: pending.path)
            peer.introduction?.repeats += 1
            peer.introduction?.next = now + spacing[pending.repeats + 1]
        }
    }

    /// An initiation of a stranger through a relay waits for the introduction that comes with it. A known peer's goes to the
    /// device, which judges it: what anybody says in a peer's name about itself must not delay the peer.
    mutating func admits(
        initiation: UnsafeMutableRawBufferPointer, from source: AgentID, on path: Path, _ core: inout TunnelCore,
        now: MonotonicTime
    ) -> Bool {
        guard peers[source] == nil, initiation.count == Strangers.initiationSize else { return true }
        if let complete = unsafe strangers.hold(initiation: Array(initiation), from: source, now: now) {
            admit(complete, source, on: path, &core, now: now)
        }
        return false
    }

    mutating func introduced(
        _ datagram: [UInt8], by source: AgentID, on path: Path, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        guard let part = Introduction(decoding: datagram) else {
            counters.unknownDatagrams += 1
            return
        }
        let known = peers[source]?.record.record
        // What is known already is only a repetition.
        if let known, part.isPart(of: known) { return }
        if let complete = strangers.add(part, from: source, known: known, now: now) {
            admit(complete, source, on: path, &core, now: now)
        }
    }

    /// Verifies the whole chain offline, and only then lets the device see the initiation.
    private mutating func admit(
        _ stranger: Strangers.Complete, _ source: AgentID, on path: Path, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        let wall = WallTime.now()
        let isNew = peers[source] == nil
        guard let verified = try? verifier.verify(stranger.record, now: wall), verified.id == source,
            addPeer(verified, &core, now: now) != nil
        else {
            counters.unverifiedIntroductions += 1
            return
        }
        if isNew { events.yield(.refresh(source)) }
        if var initiation = stranger.initiation {
            unsafe initiation.withUnsafeMutableBytes {
                unsafe core.open($0, from: path, &self, now: now, wall: wall)
            }
        }
    }
}
