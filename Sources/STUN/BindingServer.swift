package import Addressing
package import Timing

/// Answers binding requests with the endpoint they came from, and nothing else (RFC 8489 section 12).
///
/// Stateless but for rate limits. It says only XOR-MAPPED-ADDRESS (or what attributes it did not understand), so that
/// it is a poor amplifier; by `AnswerSize.neverLarger` it is none. Not safe for concurrent use.
package struct BindingServer: Sendable {
    package enum AnswerSize: Sendable {
        /// A plain request of 20 bytes gets its 32 bytes (IPv4) or 44 (IPv6), as RFC 8489 has it.
        case asSpecified
        /// An answer that would be larger than its question is not sent. `BindingClient` pads its requests for that.
        case neverLarger
    }

    package struct Configuration: Sendable {
        package var answerSize = AnswerSize.neverLarger
        /// Answers per source address.
        package var limit = TokenBucket.Limit(perSecond: 64, burst: 256)
        /// Buckets in each of the limiter's two rows.
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
    private var limiter: SourceLimiter
    private let answerSize: AnswerSize

    package init(
        _ configuration: Configuration = Configuration(), now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        answerSize = configuration.answerSize
        limiter = SourceLimiter(
            limit: configuration.limit, rowSize: configuration.limiterRowSize, now: now, using: &random)
    }

    /// What to send back to `source` for its `datagram`.
    package mutating func receive(_ datagram: RawSpan, from source: Endpoint, now: MonotonicTime) -> Answer {
        let message: Message
        do throws(MessageFault) { message = try Message(datagram) } catch { return drop(.malformed) }
        guard message.messageClass == .request else { return drop(.notRequest) }
        guard message.method == Message.bindingMethod else { return drop(.unknownMethod) }
        guard limiter.allows(source.address, now: now) else { return drop(.rateLimited) }
        let reply = Self.answer(to: message, from: source)
        guard answerSize == .asSpecified || reply.count <= datagram.byteCount else { return drop(.answerTooLarge) }
        answered += 1
        return .reply(reply)
    }

    package func count(of reason: DropReason) -> UInt64 { drops[reason.rawValue] }

    private static func answer(to request: Message, from source: Endpoint) -> [UInt8] {
        // A server with one address can't change it (RFC 5780 section 7.2), and says so as for any unknown attribute.
        let refused = request.notUnderstood + (request.changeRequest == nil ? [] : [.changeRequest])
        var builder = MessageBuilder(refused.isEmpty ? .success : .error, transaction: request.transaction)
        if refused.isEmpty {
            builder.appendXORMappedAddress(source)
        } else {
            builder.appendErrorCode(420)
            builder.appendUnknownAttributes(refused)
        }
        if request.hasFingerprint { builder.appendFingerprint() }
        return builder.bytes
    }

    private mutating func drop(_ reason: DropReason) -> Answer {
        drops[reason.rawValue] += 1
        return .drop(reason)
    }
}
