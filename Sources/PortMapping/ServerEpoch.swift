import Timing

/// Whether a gateway still has the state that it had: its clock, as it comes with each answer, must run like ours.
struct ServerEpoch: Sendable {
    private var server: UInt32?
    private var client = MonotonicTime.zero

    /// Takes the epoch time in an answer; false if the gateway has lost its mappings since the last one.
    ///
    /// RFC 6887 section 8.5, which RFC 6886 section 3.6 is the looser form of.
    mutating func accept(_ epoch: UInt32, now: MonotonicTime) -> Bool {
        defer { (server, client) = (epoch, now) }
        guard let server else { return true }
        // One second back may be a packet that overtook another.
        if epoch &+ 1 < server, server < .max { return false }
        let serverDelta = UInt64(epoch >= server ? epoch - server : 0)
        let clientDelta = now.since(client).nanoseconds / 1_000_000_000
        return clientDelta + 2 >= serverDelta - serverDelta / 16 && serverDelta + 2 >= clientDelta - clientDelta / 16
    }
}
