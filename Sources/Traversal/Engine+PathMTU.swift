import Addressing
import Timing

// The path's MTU: measured by padded pings on the live path.
extension Engine {
    mutating func startMeasuring(_ peer: PeerState, now: MonotonicTime) {
        peer.mtu = PathMTU(ceiling: configuration.maximumPacket, now: now)
        measure(peer, now: now)
    }

    mutating func measure(_ peer: PeerState, now: MonotonicTime) {
        guard let direct = peer.direct, peer.degradedSince == nil, var mtu = peer.mtu else {
            peer.mtu = nil
            return
        }
        let isUsed = now.since(max(peer.lastSent, peer.lastHeard)) < .seconds(3)
        let wait = direct.roundTrip.upperBound + .milliseconds(50)
        let sizes = mtu.due(now: now, wait: wait, isUsed: isUsed)
        peer.mtu = mtu
        publishLimit(peer)
        for size in sizes { ping(peer, .direct(direct.route), measures: size, now: now) }
        // Beside a size that may be lost, one that is not: else the path is gone, which is another matter.
        if sizes.count > 1 { ping(peer, .direct(direct.route), now: now) }
    }

    mutating func measured(_ peer: PeerState, _ size: Int, on way: Way, now: MonotonicTime) {
        guard case .direct(let route) = way, peer.direct?.route == route else { return }
        peer.mtu?.answer(size, now: now)
        publishLimit(peer)
    }

    /// Another path carries what every path is taken to carry.
    mutating func forgetLimit(_ peer: PeerState) {
        peer.mtu = nil
        guard peer.limitPublished != nil else { return }
        peer.limitPublished = nil
        actions.append(.setPathLimit(peer.id, min(configuration.maximumPacket, PathMTU.assumed)))
    }

    private mutating func publishLimit(_ peer: PeerState) {
        guard let limit = peer.mtu?.limit, limit != peer.limitPublished else { return }
        peer.limitPublished = limit
        actions.append(.setPathLimit(peer.id, limit))
    }
}
