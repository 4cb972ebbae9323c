import Addressing
import Timing

// Sockets beside the home sockets: which of them a peer's path uses, and when they are closed.
extension Engine {
    /// Whether a socket may carry the peer's data; one that won is adopted for that, at the limit in place of the one
    /// that was used least lately.
    mutating func adopt(_ socket: SocketID, for peer: PeerState, now: MonotonicTime) -> Bool {
        if socket.isHome || ledger.isAdopted(socket) { return true }
        if ledger.adoptedCount >= SocketLedger.adoptedLimit { yieldAdopted(now: now) }
        guard ledger.adopt(socket, for: peer.id) else { return false }
        actions.append(.adopt(socket, for: peer.id))
        return true
    }

    /// Takes an adopted socket that carries nothing any more, or one from a peer that was quiet for a while, if there is one.
    private mutating func yieldAdopted(now: MonotonicTime) {
        for peer in peers.values {
            let unused = peer.retired.firstIndex { old in
                ledger.isAdopted(old.socket) && old.carried.map { now.since($0) > .seconds(2) } ?? true
            }
            if let unused { return close(peer.retired.remove(at: unused).socket) }
        }
        let owners = peers.values.filter { $0.direct.map { ledger.isAdopted($0.route.socket) } ?? false }
        guard let quietest = owners.min(by: { max($0.lastSent, $0.lastHeard) < max($1.lastSent, $1.lastHeard) }),
            now.since(max(quietest.lastSent, quietest.lastHeard)) > .seconds(60)
        else { return }
        dropDirect(quietest)
    }

    /// The peer may go on sending to a socket that we use no more, until it has found the new path itself.
    mutating func retire(_ socket: SocketID, of peer: PeerState, now: MonotonicTime) {
        guard !socket.isHome, peer.direct?.route.socket != socket else { return }
        peer.retired.append(PeerState.Retired(socket: socket, until: now + .seconds(30)))
    }

    /// Gives up the direct path and the socket that it had for itself.
    mutating func dropDirect(_ peer: PeerState) {
        guard let direct = peer.direct else { return }
        if direct.route.socket.isHome {
            for index in peer.remotes.indices where peer.remotes[index].route == direct.route {
                peer.remotes[index].roundTrip = nil
            }
        } else {
            peer.remotes.removeAll { $0.route == direct.route }
        }
        peer.direct = nil
        peer.degradedSince = nil
        peer.awaitingSince = nil
        peer.nextWatch = .never
        peer.nextRescue = .never
        peer.nextComparison = .never
        forgetLimit(peer)
        peer.keeping.stop()
        if !direct.route.socket.isHome { close(direct.route.socket) }
        publish(peer)
    }

    /// Ends opening and spraying, and closes their sockets but that of the path and those that are retired.
    mutating func finishProbing(_ peer: PeerState) {
        let kept = peer.retired.map(\.socket) + [peer.direct?.route.socket].compactMap { $0 }
        for socket in (peer.opening?.allSockets ?? []) + (peer.spray?.ownSockets ?? []) where !kept.contains(socket) {
            close(socket)
        }
        if let sampler = peer.nextPortSampler { close(sampler) }
        peer.nextPortSampler = nil
        peer.opening = nil
        peer.spray = nil
    }

    mutating func releaseSockets(of peer: PeerState) {
        finishProbing(peer)
        for old in peer.retired { close(old.socket) }
        peer.retired = []
        if let socket = peer.direct?.route.socket, !socket.isHome { close(socket) }
    }
}
