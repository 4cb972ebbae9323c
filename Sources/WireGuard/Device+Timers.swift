import Addressing
package import Timing

extension Device {
    /// When to call `tick` next: `.never`, or a time at which something may be due. Costs nothing to ask.
    package var nextDeadline: MonotonicTime { schedule.earliest }

    /// Does all that is due at `now`.
    package mutating func tick(now: MonotonicTime, wall: WallTime) {
        while let slot = schedule.popDue(now) {
            let pointer = unsafe peers.pointer(slot)
            unsafe pointer.pointee.scheduled = .never
            unsafe runTimers(&pointer.pointee, now, wall)
            unsafe reschedule(&pointer.pointee)
        }
    }

    private mutating func runTimers(_ peer: inout Peer, _ now: MonotonicTime, _ wall: WallTime) {
        if peer.timers.zeroKeys <= now {
            peer.timers.zeroKeys = .never
            forgetKeys(of: &peer)
            events.append(.keysExpired(peer.id))
        }
        if peer.timers.retransmitHandshake <= now {
            peer.timers.retransmitHandshake = .never
            if peer.timers.hasTriedLongEnough(now) {
                giveUp(&peer, now)
            } else {
                initiate(&peer, isRetry: true, now, wall)
            }
        }
        if peer.timers.repeatInitiation <= now {
            peer.timers.initiationRepeated()
            repeatInitiation(&peer, now)
        }
        if let since = peer.link.unrepliedSince, peer.timers.keepalive(peer.link) <= now {
            // What came after the first is replied to by another.
            let needsAnother = peer.link.dataReceivedAt > since
            sendKeepalive(&peer, now, wall)
            peer.link.setUnreplied(since: needsAnother ? now : nil)
        }
        if peer.timers.newHandshake(peer.link) <= now {
            peer.link.forgetUnanswered()
            initiate(&peer, isRetry: false, now, wall)
        }
        if peer.timers.persistentKeepalive(peer.link) <= now {
            sendKeepalive(&peer, now, wall)
            // Also where nothing could be sent.
            peer.timers.persistentKeepalive = now + peer.timers.persistentInterval
        }
        if peer.timers.lookAgain <= now { peer.timers.lookAgain = .never }
    }

    /// Ends an attempt that nobody answered for 90 s.
    private mutating func giveUp(_ peer: inout Peer, _ now: MonotonicTime) {
        let waiting = peer.queue.takeAll().count
        ownDrops[.handshakeGivenUp] += UInt64(waiting)
        peer.link.setUnreplied(since: nil)
        peer.timers.attemptingSince = nil
        peer.timers.isAttempting = false
        // What is left of the attempt must not stay for ever.
        if peer.timers.zeroKeys == .never { peer.timers.zeroKeys = now + Timers.zeroKeysTime }
        events.append(.handshakeFailed(peer.id))
    }
}
