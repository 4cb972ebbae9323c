package import Addressing
import Noise
package import Sodium
import Timing

/// Why a peer was not added.
package enum DeviceError: Error, Equatable {
    /// The key is the device's own.
    case ownPublicKey
    /// No memory for another secret.
    case secretMemoryExhausted
}

extension Device {
    /// Takes another private key, or none. A peer with the same key is removed; sessions still open packets for a while
    /// but seal none, so that each peer shakes hands anew.
    package mutating func setPrivateKey(_ privateKey: consuming SecretKey?) {
        guard let privateKey else {
            plane.hasKey = false
            localKey = nil
            publicKey = nil
            checker = nil
            for slot in peers.slots { unsafe removeKeys(of: &peers.pointer(slot).pointee, all: true) }
            return
        }
        let key = StaticKey(privateKey)
        let publicKey = key.publicKey
        self.publicKey = publicKey
        localKey = consume key
        checker = CookieChecker(publicKey)
        plane.hasKey = true
        if let slot = slots[publicKey] { remove(slot) }
        for slot in peers.slots {
            unsafe removeKeys(of: &peers.pointer(slot).pointee, all: false)
            unsafe computeStaticStatic(&peers.pointer(slot).pointee)
            unsafe beginPersistentKeepalive(&peers.pointer(slot).pointee)
        }
    }

    private mutating func removeKeys(of peer: inout Peer, all: Bool) {
        forgetInitiation(of: &peer)
        peer.staticStatic = nil
        peer.timers.lastHandshakeSent = nil
        if all {
            forgetKeys(of: &peer)
            peer.timers.stop()
        } else {
            for keypair in peer.keypairs.all { keypair.stopSending() }
        }
    }

    private func computeStaticStatic(_ peer: inout Peer) {
        switch localKey {
        case .some(let key): peer.staticStatic = try? X25519.sharedSecret(key.secret, peer.publicKey)
        case .none: break
        }
    }

    /// Adds a peer, or finds the one that has this key.
    package mutating func addPeer(_ publicKey: PublicKey) throws(DeviceError) -> PeerID {
        if let id = peer(publicKey) { return id }
        guard publicKey != self.publicKey else { throw .ownPublicKey }
        guard let presharedKey = try? SecretKey() else { throw .secretMemoryExhausted }
        let id = peers.nextID()
        var peer = Peer(
            id: id, publicKey: publicKey, presharedKey: presharedKey, pathLimit: configuration.pathLimit,
            jitterSeed: jitter().nanoseconds)
        computeStaticStatic(&peer)
        peers.insert(peer)
        slots[publicKey] = id.index
        return id
    }

    /// Removes a peer with its sessions and allowed IPs; nothing happens when it is gone already.
    package mutating func removePeer(_ id: PeerID) {
        guard unsafe peers.pointer(id) != nil else { return }
        remove(id.index)
    }

    private mutating func remove(_ slot: Int32) {
        let pointer = unsafe peers.pointer(slot)
        unsafe forgetKeys(of: &pointer.pointee)
        unsafe slots[pointer.pointee.publicKey] = nil
        allowedIPs.removeAll(of: Int(slot))
        routesAreStale = true
        unsafe plane.reclaimer.retire(pointer.pointee.link)
        schedule.remove(slot)
        peers.remove(slot)
    }

    /// The peer with this key.
    package func peer(_ publicKey: PublicKey) -> PeerID? {
        guard let slot = slots[publicKey] else { return nil }
        return unsafe peers.pointer(slot).pointee.id
    }

    /// All peers, in the order of their indices.
    package var peerIDs: [PeerID] { peers.slots.map { unsafe peers.pointer($0).pointee.id } }

    /// The peer that an inner packet to `address` would go to.
    package func peer(for address: IPAddress) -> PeerID? {
        guard let slot = allowedIPs.owner(of: address) else { return nil }
        return unsafe peers.pointer(Int32(slot)).pointee.id
    }

    /// Sets the secret that the next handshakes also depend on; nil for none.
    package mutating func setPresharedKey(
        _ id: PeerID, _ presharedKey: consuming SecretKey?
    ) throws(DeviceError) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        if let presharedKey {
            unsafe pointer.pointee.presharedKey = presharedKey
        } else {
            guard let zero = try? SecretKey() else { throw .secretMemoryExhausted }
            unsafe pointer.pointee.presharedKey = zero
        }
    }

    /// The peer's allowed IPs become exactly these; each is taken from whoever had it.
    package mutating func setAllowedIPs(_ id: PeerID, _ prefixes: [IPPrefix]) {
        guard unsafe peers.pointer(id) != nil else { return }
        routesAreStale = true
        allowedIPs.removeAll(of: Int(id.index))
        for prefix in prefixes { allowedIPs.insert(prefix, for: Int(id.index)) }
    }

    /// Adds one allowed IP, taken from whoever had it.
    package mutating func addAllowedIP(_ id: PeerID, _ prefix: IPPrefix) {
        guard unsafe peers.pointer(id) != nil else { return }
        routesAreStale = true
        allowedIPs.insert(prefix, for: Int(id.index))
    }

    /// Sets where the peer's packets go; nil when that is not known. Packets that wait go with the next handshake. An
    /// initiation that has no answer yet goes by the new path as well, unchanged: who has had it takes it for a replay.
    package mutating func setPath(_ id: PeerID, _ path: Path?) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        let isMove = unsafe path != nil && pointer.pointee.path != nil && path != pointer.pointee.path
        unsafe pointer.pointee.path = path
        if isMove, unsafe pointer.pointee.timers.isAttempting,
            let message = unsafe pointer.pointee.initiation?.message
        {
            unsafe emit(message, .initiation, to: &pointer.pointee, on: path)
        }
        unsafe publish(&pointer.pointee)
    }

    /// Sets the largest inner packet that the peer's path carries, in bytes. A larger one is refused (`.tooLarge`).
    package mutating func setPathLimit(_ id: PeerID, _ limit: Int) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        unsafe pointer.pointee.pathLimit = limit
        unsafe publish(&pointer.pointee)
    }

    /// The peer's path; nil when none is known or the peer is gone.
    package func path(_ id: PeerID) -> Path? {
        guard let pointer = unsafe peers.pointer(id) else { return nil }
        return unsafe pointer.pointee.path
    }

    /// Sends an empty packet whenever nothing was sent or received for so many seconds; 0 turns that off. The first goes
    /// at the next `tick`.
    package mutating func setPersistentKeepalive(_ id: PeerID, seconds: UInt16) {
        guard let pointer = unsafe peers.pointer(id) else { return }
        let wasOff = unsafe pointer.pointee.timers.persistentInterval == .zero
        unsafe pointer.pointee.timers.persistentInterval = .seconds(UInt64(seconds))
        if seconds == 0 {
            unsafe pointer.pointee.timers.persistentKeepalive = .never
            unsafe reschedule(&pointer.pointee)
        } else if wasOff {
            unsafe beginPersistentKeepalive(&pointer.pointee)
        }
    }

    private mutating func beginPersistentKeepalive(_ peer: inout Peer) {
        guard peer.timers.persistentInterval > .zero else { return }
        peer.timers.persistentKeepalive = .zero
        reschedule(&peer)
    }

    // MARK: What is known

    /// What `wg show` tells of a peer; nil when it is gone.
    package func snapshot(_ id: PeerID) -> PeerSnapshot? {
        guard let pointer = unsafe peers.pointer(id) else { return nil }
        let prefixes = allowedIPs.prefixes(of: Int(id.index))
        return unsafe PeerSnapshot(
            id: id, publicKey: pointer.pointee.publicKey, hasPresharedKey: !pointer.pointee.presharedKey.isZero,
            path: pointer.pointee.path, allowedIPs: prefixes, receivedBytes: pointer.pointee.link.receivedBytes,
            sentBytes: pointer.pointee.link.sentBytes, lastHandshake: pointer.pointee.lastHandshake,
            persistentKeepalive: UInt16(
                clamping: pointer.pointee.timers.persistentInterval.nanoseconds / 1_000_000_000),
            hasSession: pointer.pointee.keypairs.current != nil)
    }

    /// The private key's 32 bytes, for the configuration protocol: the caller wipes them.
    package func exportPrivateKey() -> [UInt8]? {
        switch localKey {
        case .some(let key): key.secret.exportBytes()
        case .none: nil
        }
    }

    /// The preshared key's 32 bytes, all zero for none: the caller wipes them.
    package func exportPresharedKey(_ id: PeerID) -> [UInt8]? {
        guard let pointer = unsafe peers.pointer(id) else { return nil }
        return unsafe pointer.pointee.presharedKey.exportBytes()
    }
}
