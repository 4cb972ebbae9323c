package import Addressing
package import Membership
package import Timing

/// What a directory's client has to say without being asked.
package enum DirectoryEvent: Equatable, Sendable {
    /// Connected, authenticated, and the last announcement published again.
    case connected(hubTime: WallTime)
    /// The connection ended or could not be made; another attempt follows.
    case disconnected(DirectoryError)
    /// A newer record of an agent that was looked up, verified.
    case update(VerifiedRecord)
    case signal(from: AgentID, payload: [UInt8])
    /// The agent that a signal was for is not connected to the directory.
    case undeliverable(AgentID)
    /// On reconnection the directory had a higher sequence number of ours than the announcement that we keep.
    case superseded(known: UInt64)
}
