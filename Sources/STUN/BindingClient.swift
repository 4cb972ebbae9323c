package import Addressing
package import Timing

/// Learns the server-reflexive address of one socket from several STUN servers (RFC 8489 sections 6 and 12).
///
/// A state machine: `poll` says what to send from that socket, `receive` takes what came in on it, `nextTimer` when to
/// call `poll` again. A response counts only if an outstanding request has its transaction id **and** went to the
/// endpoint that it comes from. Not safe for concurrent use.
package struct BindingClient: Sendable {
    package struct Configuration: Sendable {
        /// RTO: how long the first request waits; each next one waits twice as long.
        package var initialTimeout = Interval.milliseconds(500)
        /// If set, the first request waits only this long, and the second one waits RTO.
        package var firstRetry: Interval?
        /// Rc: how often a request is sent.
        package var maximumRequests = 7
        /// Rm: how many RTO the last one waits.
        package var lastTimeoutFactor: UInt64 = 16
        /// When to ask again, from an answer or a failure on.
        package var refreshInterval = Interval.seconds(25)
        /// Requests are padded to this size, so that the answer is not larger: 44 is that of an IPv6 answer.
        package var requestSize = 44

        package init() {}
    }

    /// What one server said.
    package struct Mapping: Hashable, Sendable {
        package var server: Endpoint
        /// Our endpoint as the server saw it.
        package var mapped: Endpoint
        /// Nil after a retransmission, when the answer may be to either request (Karn's rule).
        package var roundTrip: Interval?
        /// RFC 5780: the server's other endpoint, if it has one.
        package var otherAddress: Endpoint?

        package init(server: Endpoint, mapped: Endpoint, roundTrip: Interval?, otherAddress: Endpoint?) {
            self.server = server
            self.mapped = mapped
            self.roundTrip = roundTrip
            self.otherAddress = otherAddress
        }
    }

    package enum Failure: Hashable, Sendable {
        case timeout
        case errorResponse(UInt16)
        /// The response requires an attribute that we don't know, or has no address.
        case unusableResponse
    }

    package enum Action: Equatable, Sendable {
        case send([UInt8], to: Endpoint)
        case failed(server: Endpoint, Failure)
    }

    package enum Refusal: Int, CaseIterable, Sendable {
        case malformed, notResponse
        /// No outstanding request has this transaction id.
        case unknownTransaction
        /// The transaction id is right, but the request went elsewhere.
        case foreignSource
    }

    package enum Received: Equatable, Sendable {
        case mapped(Mapping)
        case failed(server: Endpoint, Failure)
        case refused(Refusal)
    }

    private struct Exchange: Sendable {
        let server: Endpoint
        var transaction: TransactionID?
        var firstSent = MonotonicTime.zero
        var requests = 0
        var next: MonotonicTime
    }

    private let configuration: Configuration
    private var exchanges: [Exchange]
    private var refusals = [UInt64](repeating: 0, count: Refusal.allCases.count)

    /// The first requests are due at `now`.
    package init(servers: [Endpoint], _ configuration: Configuration = Configuration(), now: MonotonicTime) {
        self.configuration = configuration
        exchanges = servers.map { Exchange(server: $0, next: now) }
    }

    /// When `poll` has something to do.
    package var nextTimer: MonotonicTime { exchanges.map(\.next).min() ?? .never }

    /// How many datagrams were refused for `reason`.
    package func count(of reason: Refusal) -> UInt64 { refusals[reason.rawValue] }

    /// Asks every server again at `now`, as after a change of the network; outstanding requests are forgotten.
    package mutating func refresh(now: MonotonicTime) {
        for index in exchanges.indices { settle(index, next: now) }
    }

    /// The requests that are due, and the servers that were given up for now.
    package mutating func poll(now: MonotonicTime, using random: inout some RandomNumberGenerator) -> [Action] {
        var actions: [Action] = []
        for index in exchanges.indices where exchanges[index].next <= now {
            let server = exchanges[index].server
            if exchanges[index].requests >= configuration.maximumRequests {
                settle(index, next: now + configuration.refreshInterval)
                actions.append(.failed(server: server, .timeout))
                continue
            }
            let transaction = exchanges[index].transaction ?? TransactionID(using: &random)
            if exchanges[index].transaction == nil { exchanges[index].firstSent = now }
            exchanges[index].transaction = transaction
            exchanges[index].requests += 1
            exchanges[index].next = now + timeout(after: exchanges[index].requests)
            actions.append(.send(request(transaction), to: server))
        }
        return actions
    }

    /// What a datagram from `source` says; call it for each that `Message.isSTUN`.
    package mutating func receive(_ datagram: RawSpan, from source: Endpoint, now: MonotonicTime) -> Received {
        let message: Message
        do throws(MessageFault) { message = try Message(datagram) } catch { return refuse(.malformed) }
        guard message.messageClass == .success || message.messageClass == .error,
            message.method == Message.bindingMethod
        else { return refuse(.notResponse) }
        guard let index = exchanges.firstIndex(where: { $0.transaction == message.transaction }) else {
            return refuse(.unknownTransaction)
        }
        guard exchanges[index].server == source else { return refuse(.foreignSource) }

        let exchange = exchanges[index]
        settle(index, next: now + configuration.refreshInterval)
        guard message.messageClass == .success else {
            return .failed(server: source, message.errorCode.map(Failure.errorResponse) ?? .unusableResponse)
        }
        guard message.notUnderstood.isEmpty, let mapped = message.xorMappedAddress ?? message.mappedAddress else {
            return .failed(server: source, .unusableResponse)
        }
        return .mapped(
            Mapping(
                server: source, mapped: mapped, roundTrip: exchange.requests == 1 ? now.since(exchange.firstSent) : nil,
                otherAddress: message.otherAddress))
    }

    private mutating func settle(_ index: Int, next: MonotonicTime) {
        exchanges[index].transaction = nil
        exchanges[index].requests = 0
        exchanges[index].next = next
    }

    /// How long to wait after the request with this number, counted from 1 (RFC 8489 section 6.2.1).
    private func timeout(after requests: Int) -> Interval {
        if requests >= configuration.maximumRequests {
            return configuration.initialTimeout * configuration.lastTimeoutFactor
        }
        guard let firstRetry = configuration.firstRetry else {
            return configuration.initialTimeout * (1 << UInt64(min(requests - 1, 16)))
        }
        return requests == 1 ? firstRetry : configuration.initialTimeout * (1 << UInt64(min(requests - 2, 16)))
    }

    private func request(_ transaction: TransactionID) -> [UInt8] {
        var builder = MessageBuilder(.request, transaction: transaction)
        // SOFTWARE, not PADDING: a server may ignore the one and must refuse the other if it does not know it.
        let room = min(configuration.requestSize - Message.headerSize - 4, 508)
        if room > 0 {
            let name = Array("warren".utf8.prefix(room))
            builder.append(.software, name + repeatElement(0x20, count: room - name.count))
        }
        return builder.bytes
    }

    private mutating func refuse(_ reason: Refusal) -> Received {
        refusals[reason.rawValue] += 1
        return .refused(reason)
    }
}
