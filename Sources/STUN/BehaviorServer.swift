package import Addressing
package import Timing

/// Answers binding requests on two addresses and two ports, so that a client can find out how its NAT maps and filters
/// (RFC 5780 section 6), classic clients of RFC 3489 included.
///
/// A full answer has XOR-MAPPED-ADDRESS, MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS. Where the `AnswerBudget`
/// has no room for it, there is the mapped address alone, and then nothing. It sends to the address that asked and to
/// no other, whatever a request says. Not safe for concurrent use.
package struct BehaviorServer: Sendable {
    /// One of the four sockets.
    package struct Side: Hashable, Sendable, CaseIterable {
        package var hasOtherAddress: Bool
        package var hasOtherPort: Bool

        package init(hasOtherAddress: Bool, hasOtherPort: Bool) {
            self.hasOtherAddress = hasOtherAddress
            self.hasOtherPort = hasOtherPort
        }

        package static let allCases = [false, true].flatMap { address in
            [false, true].map { Side(hasOtherAddress: address, hasOtherPort: $0) }
        }

        /// The one that differs in what is asked for.
        func changed(address: Bool, port: Bool) -> Side {
            Side(hasOtherAddress: hasOtherAddress != address, hasOtherPort: hasOtherPort != port)
        }
    }

    package struct Configuration: Sendable {
        package var excess: AnswerBudget.Excess? = AnswerBudget.Excess()
        /// Answers per source address.
        package var limit = TokenBucket.Limit(perSecond: 64, burst: 256)
        package var limiterRowSize = 4096
        package var takesClassicClients = true

        package init() {}
    }

    package enum DropReason: Int, CaseIterable, Sendable {
        case malformed, notRequest, unknownMethod, rateLimited, answerTooLarge
    }

    package enum Answer: Equatable, Sendable {
        case send([UInt8], from: Side, to: Endpoint)
        case drop(DropReason)
    }

    package private(set) var answered: UInt64 = 0
    private var drops = [UInt64](repeating: 0, count: DropReason.allCases.count)
    private var budget: AnswerBudget
    private let primary: Endpoint
    private let other: Endpoint
    private let takesClassicClients: Bool

    /// Nil unless the endpoints are of one family and differ in address and in port.
    ///
    /// - Parameters:
    ///   - primary: the first address and port as clients reach them.
    ///   - other: the second ones.
    package init?(
        primary: Endpoint, other: Endpoint, _ configuration: Configuration = Configuration(), now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) {
        guard primary.address.isIPv6 == other.address.isIPv6, primary.address != other.address,
            primary.port != other.port
        else { return nil }
        self.primary = primary
        self.other = other
        takesClassicClients = configuration.takesClassicClients
        budget = AnswerBudget(
            answers: configuration.limit, excess: configuration.excess, rowSize: configuration.limiterRowSize,
            now: now, using: &random)
    }

    /// Where a side is.
    package func endpoint(of side: Side) -> Endpoint {
        Endpoint(
            side.hasOtherAddress ? other.address : primary.address, port: side.hasOtherPort ? other.port : primary.port)
    }

    package func count(of reason: DropReason) -> UInt64 { drops[reason.rawValue] }

    /// What to send for the `datagram` that came in at `side` from `source`.
    package mutating func receive(
        _ datagram: RawSpan, at side: Side, from source: Endpoint, now: MonotonicTime
    ) -> Answer {
        let request: Message
        do throws(MessageFault) { request = try Message(datagram, takingClassic: takesClassicClients) } catch {
            return drop(.malformed)
        }
        guard request.messageClass == .request else { return drop(.notRequest) }
        guard request.method == Message.bindingMethod else { return drop(.unknownMethod) }
        guard budget.allowsAnswer(to: source.address, now: now) else { return drop(.rateLimited) }

        let flags = request.changeRequest ?? 0
        let from = side.changed(address: flags & 4 != 0, port: flags & 2 != 0)
        let port = request.responsePort ?? source.port
        let to = Endpoint(source.address, port: port == 0 ? source.port : port)
        for answer in answers(to: request, of: datagram.byteCount, at: side, from: from, source)
        where budget.affords(answer.count, forQuestion: datagram.byteCount, from: source.address, now: now) {
            answered += 1
            return .send(answer, from: from, to: to)
        }
        return drop(.answerTooLarge)
    }

    /// The answers that would do, best first.
    private func answers(
        to request: Message, of size: Int, at side: Side, from: Side, _ source: Endpoint
    ) -> [[UInt8]] {
        guard request.notUnderstood.isEmpty else {
            return [BindingServer.refusal(of: request, request.notUnderstood)]
        }
        if request.paddingSize != nil, request.responsePort != nil {
            // A large answer to where nobody has sent from (RFC 5780 section 6.1).
            var builder = MessageBuilder(.error, transaction: request.transaction, cookie: request.cookie)
            builder.appendErrorCode(400)
            return [builder.bytes]
        }
        var builder = MessageBuilder(.success, transaction: request.transaction, cookie: request.cookie)
        let (origin, changed) = (endpoint(of: from), endpoint(of: Self.other(than: side)))
        if request.isClassic {
            builder.appendAddress(.mappedAddress, source)
            let plain = builder.bytes
            builder.appendAddress(.sourceAddress, origin)
            builder.appendAddress(.changedAddress, changed)
            return [builder.bytes, plain]
        }
        builder.appendXORMappedAddress(source)
        var plain = builder
        if request.hasFingerprint { plain.appendFingerprint() }
        builder.appendAddress(.mappedAddress, source)
        builder.appendAddress(.responseOrigin, origin)
        builder.appendAddress(.otherAddress, changed)
        if request.paddingSize != nil {
            // As long as the question, which is what padding is for: a datagram of that size coming back.
            let room = size - builder.bytes.count - 4 - (request.hasFingerprint ? Fingerprint.attributeSize : 0)
            builder.append(.padding, repeatElement(0, count: max(0, room & ~3)))
        }
        if request.hasFingerprint { builder.appendFingerprint() }
        return [builder.bytes, plain.bytes]
    }

    /// What OTHER-ADDRESS says at a side: at the two corners that clients begin at, the opposite one. At the sides between
    /// them, which are asked in the middle of the tests, it stays what it was at the beginning: coturn's client takes the
    /// last answer's, not the first's, for its third test, and coturn's server says always the same for that.
    private static func other(than side: Side) -> Side {
        let last = Side(hasOtherAddress: true, hasOtherPort: true)
        return side == last ? Side(hasOtherAddress: false, hasOtherPort: false) : last
    }

    private mutating func drop(_ reason: DropReason) -> Answer {
        drops[reason.rawValue] += 1
        return .drop(reason)
    }
}
