import Addressing
import Membership
import Sodium
import Timing
import Traversal
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
        let known = peers[record.id]
        let holders = peers.values.lazy.map {
            PeerClaim.Holder(claim: PeerClaim($0.record, key: $0.key), isVerified: $0.isVerified, learned: $0.learned)
        }
        switch PeerClaim(record, key: key).judged(against: holders, now: now) {
        case .known: return known
        case .refused:
            counters.addressConflicts += 1
            return nil
        case .accepted(let displaced):
            for other in displaced.compactMap({ peers[$0] }) {
                counters.addressConflicts += 1
                forget(other, &core)
            }
        }
        if let known {
            if known.key == key {
                known.record = record
                core.device.setAllowedIPs(known.device, addresses.map { IPPrefix(host: $0) })
                engine.setRelays(relayPaths(for: record, now: now), for: record.id)
                perform(&core, now: now)
                return known
            }
            remove(known, &core)
        }
        if peers.count >= Self.peerLimit, let oldest = peers.values.min(by: { $0.lastUsed < $1.lastUsed }) {
            forget(oldest, &core)
        }
        guard let binding = try? PeerClaim.binding(identity.id, record.id), let device = try? core.device.addPeer(key),
            (try? core.device.setPresharedKey(device, binding)) != nil
        else { return nil }
        core.device.setAllowedIPs(device, addresses.map { IPPrefix(host: $0) })
        let peer = MeshPeer(record: record, device: device, key: key, now: now)
        let paths = relayPaths(for: record, now: now)
        do {
            try engine.addPeer(
                record.id, localKey: staticKey, remoteKey: key, epoch: epoch, relays: paths, now: now)
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

    /// Removes a peer of which nothing is to be heard any more.
    private mutating func forget(_ peer: MeshPeer, _ core: inout TunnelCore) {
        remove(peer, &core)
        events.yield(.forget(peer.id))
    }

    /// Forgets peers that were not used for long (memory follows use) and those whose record has expired, and asks for newer
    /// records before that.
    mutating func sweep(_ core: inout TunnelCore, now: MonotonicTime, wall: WallTime) {
        for peer in Array(peers.values) {
            keepRelay(of: peer, now: now)
            if now.since(peer.lastUsed) > Self.unusedAfter || peer.record.isExpired(key: peer.key, at: wall) {
                forget(peer, &core)
            } else if peer.nextRefresh <= now, peer.record.isDueForRefresh(key: peer.key, at: wall) {
                let left = peer.record.end(ofKey: peer.key).seconds - wall.seconds
                peer.nextRefresh = now + .seconds(UInt64(min(max(left / 4, 10), 300)))
                events.yield(.refresh(peer.id))
            }
        }
    }

    /// A lookup's answer: the packets that waited for the address go out, or ICMP errors come back.
    mutating func resolved(
        _ address: IPAddress, _ record: VerifiedRecord?, _ core: inout TunnelCore, now: MonotonicTime, wall: WallTime
    ) {
        // A peer may be known by a newer record than the directory's, in which it has the address no more.
        guard let record, let peer = addPeer(record, &core, now: now),
            peer.record.credential.addresses.contains(address)
        else {
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
