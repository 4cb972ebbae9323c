import Timing

/// What keeps a peer's direct path open while there is no data.
struct Keeping {
    /// When there is something to do.
    var next = MonotonicTime.never
    /// The next keepalive is ours to send, else the peer's.
    var isOurTurn = false
    /// The silences after which we want the peer's next keepalive, and it ours; 0 for the usual.
    var wanted: UInt16 = 0
    var peerWants: UInt16 = 0
    /// How long the peer's NAT keeps a binding, as it said; 0 for unknown.
    var peerKnown: UInt16 = 0
    /// The path has been silent for longer than is known to be safe: data goes by the relay until it answers.
    var isDormant = false

    /// Why we ask, while we do.
    var question: Question?
    var unanswered = 0
    var askAgainAt = MonotonicTime.never
    /// When our own binding is used once more, by what dies on the way: the peer rests before it asks.
    var openerAt = MonotonicTime.never
    /// Until then nothing is missed: the peer may be resting.
    var peerRestsUntil = MonotonicTime.zero
    /// A binding that was gone is new: when it is used once more.
    var confirmAt = MonotonicTime.never
    /// How often in a row a keepalive did not come at the usual time.
    var missed = 0

    enum Question: Equatable {
        /// The keepalive did not come that we wanted after so many seconds.
        case wanted(UInt16)
        /// Nor at the usual time.
        case missing
        /// There is data for a path that is dormant.
        case data

        /// Questions until the path is given up.
        var tries: Int { if case .data = self { 4 } else { 3 } }

        /// From one to the next.
        var spacing: Interval { if case .data = self { .milliseconds(250) } else { .seconds(1) } }
    }

    /// A keepalive that our NAT did not let in may have taken our port for so long (see `remapsAfterUnsolicited`).
    static let rest = Interval.seconds(35)
    /// From a keepalive that measures until the peer, resting because it did not come, has asked: it notices up to 4 s late.
    static let peerRest = rest + .seconds(6)
    /// A new binding that was not answered lasts 30 s in Linux.
    static let openerAfter = Interval.seconds(25)
    /// A binding that is older than two seconds when it is used is a stream to Linux, and lasts longer.
    static let confirmAfter = Interval.milliseconds(2500)

    /// A keepalive that comes so soon after something was sent was sent before that arrived.
    static let crossing = Interval.seconds(1)

    mutating func stop() { self = Keeping() }
}
