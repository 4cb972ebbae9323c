import Addressing
import Membership
import Sodium
import Timing
import Tunnel
import WireGuard

// Peers come from the directory or by introduction, and are the same from then on.
extension Peering {
    /// Adds the agent of a verified record, or takes over its newer record. Returns nil for a record that can't be used:
    /// our own, or one whose addresses are not the mesh's.
    @discardableResult
    mutating func addPeer(_ record: VerifiedRecord, _ core: inout TunnelCore, now: MonotonicTime) -> MeshPeer? {
        let addresses = record.credential.addresses
        guard record.id != identity.id, let key = record.keys.first,
            addresses.allSatisfy({ address in
                !ownAddresses.contains(address) && meshRanges.contains { $0.contains(address) }
            })
        else { return nil }
        if let known = peers[record.id] {
            guard record.announcement.sequence > known.record.announcement.sequence else { return known }
            if known.key == key {
                known.record = record
                core.device.setAllowedIPs(addresses.map { IPPrefix(host: $0) }, for: known.device)
                engine.setRelay(relayPath(for: record), for: record.id)
                perform(&core, now: now)
                return known
            }
            remove(known, &core)
        }
        for other in peers.values where other.record.credential.addresses.contains(where: addresses.contains) {
            // The authority never signs one address for two live agents: the older claim gives way, and it is counted.
            counters.addressConflicts += 1
            guard other.record.credential.issued <= record.credential.issued else { return nil }
            remove(other, &core)
        }
        if peers.count >= Self.peerLimit, let oldest = peers.values.min(by: { $0.lastUsed < $1.lastUsed }) {
            remove(oldest, &core)
            events.yield(.forget(oldest.id))
        }
        guard let device = core.device.addPeer(key) else { return nil }
        core.device.setAllowedIPs(addresses.map { IPPrefix(host: $0) }, for: device)
        let peer = MeshPeer(record: record, device: device, key: key, now: now)
        do {
            try engine.addPeer(
                record.id, localKey: staticKey, remoteKey: key, epoch: epoch, relay: relayPath(for: record), now: now)
        } catch {
            core.device.removePeer(device)
            return nil
        }
        peers[record.id] = peer
        byDevice[device] = peer
        perform(&core, now: now)
        return peer
    }

    mutating func remove(_ peer: MeshPeer, _ core: inout TunnelCore) {
        core.device.removePeer(peer.device)
        engine.removePeer(peer.id)
        peers[peer.id] = nil
        byDevice[peer.device] = nil
    }

    /// A lookup's answer: the packets that waited for the address go out, or ICMP errors come back.
    mutating func resolved(
        _ address: IPAddress, _ record: VerifiedRecord?, _ core: inout TunnelCore, now: MonotonicTime, wall: WallTime
    ) {
        guard let record, addPeer(record, &core, now: now) != nil else {
            for packet in unresolved.fail(address, now: now) {
                unsafe packet.withUnsafeBytes { unsafe core.refuse($0, .addressUnreachable) }
            }
            return
        }
        for packet in unresolved.take(address) {
            unsafe packet.withUnsafeBytes { unsafe core.transmit($0, &self, now: now, wall: wall) }
        }
    }

    /// A newer record of an agent, pushed by the directory. A known peer with a new key is greeted at once: it has
    /// restarted, and its old session will never answer.
    mutating func updated(_ record: VerifiedRecord, _ core: inout TunnelCore, now: MonotonicTime, wall: WallTime) {
        guard let known = peers[record.id] else { return }
        let oldKey = known.key
        guard let peer = addPeer(record, &core, now: now), peer.key != oldKey else { return }
        core.device.startHandshake(peer.device, now: now, wall: wall)
    }

    /// Starts a handshake with an agent that nothing was sent to yet: a required peer.
    mutating func greet(_ record: VerifiedRecord, _ core: inout TunnelCore, now: MonotonicTime, wall: WallTime) {
        guard let peer = addPeer(record, &core, now: now), !peer.isVerified else { return }
        core.device.startHandshake(peer.device, now: now, wall: wall)
    }
}
