/// What became of the queries.
package struct ResolverCounters: Equatable, Sendable {
    /// Names of the mesh: answered, with or without records.
    package var mesh: UInt64 = 0
    /// Names of the mesh that nobody has.
    package var meshNobody: UInt64 = 0
    /// Names of the mesh that could not be looked up.
    package var meshFailed: UInt64 = 0
    /// Of those answered: from records that could not be asked for anew.
    package var stale: UInt64 = 0
    /// Answered by an upstream server.
    package var forwarded: UInt64 = 0
    /// No upstream server answered, or there was no room to ask.
    package var forwardFailed: UInt64 = 0
    /// Not understood, and told so.
    package var malformed: UInt64 = 0
    /// No query at all.
    package var dropped: UInt64 = 0
    /// From a server, and no answer to what it was asked.
    package var foreignAnswers: UInt64 = 0

    package init() {}

    /// By outcome, in a fixed order.
    package var all: [(outcome: String, count: UInt64)] {
        [
            ("mesh", mesh), ("mesh-nobody", meshNobody), ("mesh-failed", meshFailed), ("stale", stale),
            ("forwarded", forwarded), ("forward-failed", forwardFailed), ("malformed", malformed),
            ("dropped", dropped), ("foreign-answer", foreignAnswers),
        ]
    }
}
