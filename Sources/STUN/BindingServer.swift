package import Addressing
package import Timing

/// Answers binding requests with the endpoint they came from, and nothing else (RFC 8489 section 12).
///
/// Stateless but for rate limits, so that a retransmission gets the answer its first one got. It says only
/// XOR-MAPPED-ADDRESS (or which attributes it did not understand) and stays within an `AnswerBudget`. It has one
/// address and one port: `BehaviorServer` has two of each. Not safe for concurrent use.
package struct BindingServer: Sendable {
    package struct Configuration: Sendable {
        /// Nil: an answer that would be larger than its question is not sent. `BindingClient` pads for that, a stock
        /// client does not and gets none.
        package var excess: AnswerBudget.Excess?
        /// Answers per source address.
        package var limit = TokenBucket.Limit(perSecond: 64, burst: 256)
        /// Buckets in each of a limiter's two rows.
        package var limiterRowSize = 4096

        package init() {}
    }

    package enum DropReason: Int, CaseIterable, Sendable {
        case malformed, notRequest, unknownMethod, rateLimited, answerTooLarge
    }

    package enum Answer: Equatable, Sendable {
        case reply([UInt8])
        case drop(DropReason)
    }

    package private(set) var answered: UInt64 = 0
    private var drops = [UInt64](repeating: 0, count: DropReason.allCases.count)
    private var budget: AnswerBudget

    package init(
        _ configuration: Configuration = Configuration(), now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        budget = AnswerBudget(
            answers: configuration.limit, excess: configuration.excess, rowSize: configuration.limiterRowSize,
            now: now, using: &random)
    }

    /// What to send back to `source` for its `datagram`.
    package mutating func receive(_ datagram: RawSpan, from source: Endpoint, now: MonotonicTime) -> Answer {
        let message: Message
        do throws(MessageFault) { message = try Message(datagram) } catch { return drop(.malformed) }
        guard message.messageClass == .request else { return drop(.notRequest) }
        guard message.method == Message.bindingMethod else { return drop(.unknownMethod) }
        guard budget.allowsAnswer(to: source.address, now: now) else { return drop(.rateLimited) }
        let reply = Self.answer(to: message, from: source)
        guard budget.affords(reply.count, forQuestion: datagram.byteCount, from: source.address, now: now) else {
            return drop(.answerTooLarge)
        }
        answered += 1
        return .reply(reply)
    }

    package func count(of reason: DropReason) -> UInt64 { drops[reason.rawValue] }

    private static func answer(to request: Message, from source: Endpoint) -> [UInt8] {
        // A server with one address can't change it (RFC 5780 section 7.2), and says so as for any unknown attribute.
        let refused =
            request.notUnderstood + (request.changeRequest == nil ? [] : [.changeRequest])
            + (request.responsePort == nil ? [] : [.responsePort])
        guard refused.isEmpty else { return refusal(of: request, refused) }
        var builder = MessageBuilder(.success, transaction: request.transaction)
        builder.appendXORMappedAddress(source)
        if request.hasFingerprint { builder.appendFingerprint() }
        return builder.bytes
    }

    /// 420 with what was not understood (RFC 8489 section 6.3.1.1).
    static func refusal(of request: Message, _ types: [AttributeType]) -> [UInt8] {
        var builder = MessageBuilder(.error, transaction: request.transaction, cookie: request.cookie)
        builder.appendErrorCode(420)
        builder.appendUnknownAttributes(types)
        if request.hasFingerprint { builder.appendFingerprint() }
        return builder.bytes
    }

    private mutating func drop(_ reason: DropReason) -> Answer {
        drops[reason.rawValue] += 1
        return .drop(reason)
    }
}
