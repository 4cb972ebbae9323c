/// One meeting of two agents that do not know each other: what came of it, and when. Times are in milliseconds.
package struct Trial: Codable, Sendable {
    package enum Outcome: String, Codable, Sendable {
        /// Both ends send direct.
        case direct
        /// One end sends direct, the other by the relay.
        case halfDirect = "half"
        case relay
        /// No answer came.
        case none
        /// A sidecar did not reach the hub, so that there was nothing to meet by.
        case notReady = "not-ready"
    }

    package var outcome: Outcome
    /// The letter of the site whose agent spoke first.
    package var caller: String
    /// From the start of both sidecars until both had the hub, and a relay if one can be had.
    package var ready: Double?
    /// Site A's agent and its home relay: how it is reached, and how long after the agent's join it was up, by its own clock.
    package var transport: String?
    package var relayUp: Double?
    /// From the caller's first packet until the peer had one, and until an answer was back.
    package var firstByte: Double?
    package var firstReply: Double?
    /// From the caller's learning of the peer to its direct path, by its sidecar's clock.
    package var direct: Double?
    /// From the caller's first packet until both ends said "direct", as polled.
    package var bothDirect: Double?
    /// Datagrams that crossed the Internet between the two sites until then, both ways.
    package var datagrams: Int?
    /// Answers missing after both ends were direct, of those checked.
    package var lost: Int?
    /// Why nothing worked, for a person.
    package var note: String?

    package init(outcome: Outcome, caller: String) {
        self.outcome = outcome
        self.caller = caller
    }

    /// Something carried packets both ways.
    package var isReachable: Bool { [.direct, .halfDirect, .relay].contains(outcome) }
}
