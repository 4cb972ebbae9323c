import Addressing
import Timing

/// Sockets of ours that wait for a peer's spray, and how far their preparation is.
struct OpeningState {
    enum Kind: Equatable {
        /// One fresh socket of a NAT with one mapping, whose port a server says: where the home socket's port was taken.
        case escape
        case sequential(step: UInt16)
        case block(ClosedRange<UInt16>)
        case random
    }

    let kind: Kind
    let sockets: [SocketID]
    /// What each socket sends to; the other side's endpoints.
    let targets: [Endpoint]
    /// Sockets that only ask a server: what the sequential NAT gives before the others, and after.
    var before: SocketID?
    var after: SocketID?
    var portBefore: UInt16?
    var portAfter: UInt16?
    /// The fresh socket's endpoint.
    var mapped: Endpoint?
    /// One sealed ping for all: the first that gets through is accepted.
    let opener: [UInt8]
    let hops: UInt8?
    var fired = 0
    /// How often the peer was told, and when it is told again as long as nothing came through.
    var announced: Call.Opened?
    var announcements = 0
    var nextAnnouncement = MonotonicTime.never
    var next: MonotonicTime
    /// When the next step is taken even if a server did not answer.
    var samplesUntil = MonotonicTime.never
    var end: MonotonicTime
    /// The socket that the peer got through to.
    var hit: SocketID?
    /// Pings of a socket whose opener may not have come far enough.
    var follow: Punch.Rounds?

    var total: Int { sockets.count * targets.count }
    var allSockets: [SocketID] { sockets + [before, after].compactMap { $0 } }

    /// The ports that the sequential NAT gave to what was sent between both samples.
    func ports(step: UInt16) -> (first: UInt16, count: UInt16)? {
        let slack = 8
        let step = Int(step)
        var first: Int
        var count = total + slack
        if let before = portBefore.map(Int.init) {
            first = before + step
            // Fewer between them than were sent: the sequence has begun anew, or the samples have overtaken the openers.
            if let after = portAfter.map(Int.init), after > before, (after - before) % step == 0,
                (after - before) / step > total
            {
                count = min((after - before) / step - 1, total + 256)
            }
        } else if let after = portAfter.map(Int.init) {
            first = after - count * step
        } else {
            return nil
        }
        if first < 1024 { first = 1024 }
        guard count > 0, first <= Int(UInt16.max) else { return nil }
        return (UInt16(first), UInt16(clamping: min(count, (Int(UInt16.max) - first) / step + 1)))
    }
}
