import Addressing
import Timing

/// What keeps a peer's direct path open while there is no data, and the measurement that says how often that is needed.
struct Keeping {
    /// When a keepalive is due, or when one of the peer's is missing.
    var next = MonotonicTime.never
    /// Pings that went unanswered because nothing was heard.
    var unanswered = 0
    /// One side's keepalives were not enough: this side sends its own.
    var sendsAnyway = false

    /// A measurement: the socket, and where it is.
    var socket: SocketID?
    var stage = Stage.none
    var route: Route?
    var transaction: UInt64 = 0
    var seconds: UInt16 = 0

    enum Stage: Equatable {
        case none
        /// The server says how the socket is seen; the peer pings it.
        case meeting(until: MonotonicTime)
        /// The peer was asked to send after the silence.
        case asked(until: MonotonicTime)
        case waiting(until: MonotonicTime)
    }

    /// What we were asked to send, at most one for a peer.
    var reminder: (transaction: UInt64, route: Route, at: MonotonicTime)?

    var stageEnd: MonotonicTime {
        switch stage {
        case .none: .never
        case .meeting(let until), .asked(let until), .waiting(let until): until
        }
    }

    mutating func stop() {
        next = .never
        unanswered = 0
    }
}
