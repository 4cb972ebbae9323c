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

    /// Takes an adopted socket from a peer that was quiet for a while, if there is one.
    private mutating func yieldAdopted(now: MonotonicTime) {
        let owners = peers.values.filter { $0.direct.map { ledger.isAdopted($0.route.socket) } ?? false }
        guard let quietest = owners.min(by: { max($0.lastSent, $0.lastHeard) < max($1.lastSent, $1.lastHeard) }),
            now.since(max(quietest.lastSent, quietest.lastHeard)) > .seconds(60)
        else { return }
        dropDirect(quietest)
    }

    /// The peer may go on sending to a socket that we use no more, until it has found the new path itself.
    mutating func retire(_ socket: SocketID, of peer: PeerState, now: MonotonicTime) {
        guard !socket.isHome, peer.direct?.route.socket != socket else { return }
        peer.retired.append((socket, now + .seconds(30)))
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

    /// Ends opening and spraying, and closes their sockets but this one.
    mutating func finishProbing(_ peer: PeerState, except kept: SocketID? = nil) {
        for socket in (peer.opening?.allSockets ?? []) + (peer.spray?.ownSockets ?? []) where socket != kept {
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
