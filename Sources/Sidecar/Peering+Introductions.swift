import Addressing
import Membership
import Timing
import Tunnel
import WireGuard

// Initiators introduce themselves; responders ask no server.
extension Peering {
    mutating func willSend(_ output: borrowing DeviceOutput, _ core: inout TunnelCore, now: MonotonicTime) {
        guard output.kind == .initiation, output.path.isRelayed, let id = output.peer, let peer = byDevice[id] else { return }
        for part in introduction { core.send(part, on: output.path) }
        peer.introduction = MeshPeer.PendingIntroduction(
            initiation: output.bytes, path: output.path, next: now + MeshPeer.PendingIntroduction.spacing[0])
    }

    mutating func repeatIntroductions(_ core: inout TunnelCore, now: MonotonicTime) {
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

    /// An initiation through a relay goes to the device when its source is known and says nothing new about itself;
    /// otherwise it waits for the introduction that comes with it.
    mutating func admits(
        initiation: UnsafeMutableRawBufferPointer, from source: AgentID, on path: Path, _ core: inout TunnelCore,
        now: MonotonicTime
    ) -> Bool {
        if peers[source] != nil, !strangers.isHolding(source) { return true }
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
        // What is known already is only a repetition. A restarted agent has a new announcement, with the same credential.
        if case .announcement(let text) = part, let known = peers[source],
            text == Array(known.record.announcement.text.utf8)
        {
            return
        }
        if let complete = strangers.add(part, from: source, now: now) {
            admit(complete, source, on: path, &core, now: now)
        }
    }

    /// Verifies the whole chain offline, and only then lets the device see the initiation.
    private mutating func admit(
        _ stranger: Strangers.Complete, _ source: AgentID, on path: Path, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        let wall = WallTime.now()
        let record = Record(
            credential: String(decoding: stranger.credential, as: UTF8.self),
            announcement: String(decoding: stranger.announcement, as: UTF8.self))
        let known = peers[source]
        guard let verified = try? verifier.verify(record, now: wall, known: known?.record.announcement.sequence),
            verified.id == source, addPeer(verified, &core, now: now) != nil
        else {
            counters.unverifiedIntroductions += 1
            return
        }
        if known == nil { events.yield(.subscribe(source)) }
        if var initiation = stranger.initiation {
            unsafe initiation.withUnsafeMutableBytes {
                unsafe core.open($0, from: path, &self, now: now, wall: wall)
            }
        }
    }
}
