package import Addressing
package import Timing

/// What a server may send to senders that have proven nothing, so that it is no amplifier worth the name.
///
/// A stock client asks with 20 bytes and RFC 8489's smallest answer has 32 (IPv4) or 44 (IPv6), RFC 5780's twice that.
/// To be of use to such clients a server must send more than it gets; what an attacker with a forged source can make
/// of that is bounded by counting exactly this difference, the *excess*, per source and in total. One answer for one
/// question, none to anything but requests, and no excess beyond the bound: a hub can be made to send a victim 192
/// bytes a second more than the attacker sends, and all victims together 64 KiB, about half a Mbit/s, which is less
/// than any other way to spend a packet. Questions padded to the size of their answers (`BindingClient`'s are) cost
/// no excess, so agents of ours are served while somebody uses the bound up. Not safe for concurrent use.
package struct AnswerBudget: Sendable {
    /// How many bytes more than it received a server may send.
    package struct Excess: Sendable {
        /// To one address (an IPv6 /64).
        package var perSource = TokenBucket.Limit(perSecond: 192, burst: 4096)
        package var total = TokenBucket.Limit(perSecond: 65_536, burst: 65_536)

        package init() {}
    }

    private var answers: SourceLimiter
    private var excess: (perSource: SourceLimiter, total: TokenBucket, limit: TokenBucket.Limit)?

    /// - Parameters:
    ///   - answers: per source, of whatever size.
    ///   - excess: nil where no answer may be larger than its question.
    package init(
        answers: TokenBucket.Limit, excess: Excess?, rowSize: Int, now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        self.answers = SourceLimiter(limit: answers, rowSize: rowSize, now: now, using: &random)
        self.excess = excess.map { excess in
            (
                SourceLimiter(limit: excess.perSource, rowSize: rowSize, now: now, using: &random),
                TokenBucket(full: excess.total, now: now), excess.total
            )
        }
    }

    /// Whether one more question of `source` may be answered at all.
    package mutating func allowsAnswer(to source: IPAddress, now: MonotonicTime) -> Bool {
        answers.allows(source, now: now)
    }

    /// Whether an answer of this size may go out for a question of that one; takes the excess if so.
    package mutating func affords(
        _ answerSize: Int, forQuestion questionSize: Int, from source: IPAddress, now: MonotonicTime
    ) -> Bool {
        guard answerSize > questionSize else { return true }
        guard excess != nil else { return false }
        let units = UInt64(answerSize - questionSize)
        guard excess?.perSource.allows(source, units: units, now: now) == true, let limit = excess?.limit else {
            return false
        }
        return excess?.total.take(units, limit: limit, now: now) == true
    }
}
