package import Addressing
package import Timing

/// Finds out how the NAT in front of us maps, filters and chooses ports (RFC 5780 section 4).
///
/// A state machine over several UDP sockets, which it knows by number: `poll` says what to send from which, `receive`
/// takes what came in, `nextTimer` when to call `poll` again, and after `receive`. Socket 0 asks all servers, and of the
/// first that has another address also that one (tests I to III of section 4.3, at once); socket 1 asks only the primary
/// address and lets it answer from others (section 4.4), so that what socket 0 sends opens no filter for it; every
/// further socket asks once, to see more port allocations. Where no server has another address, servers are compared
/// with each other, and filtering stays unknown.
///
/// It is over two round trips and `maximumRequests` retry intervals after its start: in about 1.1 s. A server's
/// word is taken only for what it is asked; its other address is used only if it may be a target. Not safe for
/// concurrent use.
package struct BehaviorDiscovery: Sendable {
    package struct Configuration: Sendable {
        package var retryInterval = Interval.milliseconds(250)
        /// How often each question is asked.
        package var maximumRequests = 4
        /// Where nothing is sent, whatever a server says: the mesh's own addresses.
        package var refusedTargets: [IPPrefix] = []

        package init() {}
    }

    package struct Send: Equatable, Sendable {
        package var datagram: [UInt8]
        package var destination: Endpoint
        package var socket: Int
    }

    /// What a question is for.
    enum Purpose: Hashable, Sendable {
        case mapping
        /// Makes socket 1's mapping.
        case primer
        /// Answered from another port, and another address too if so.
        case filtering(fromOtherAddress: Bool)
        case sample
    }

    enum Outcome: Hashable, Sendable {
        case mapped(Endpoint)
        case silent
        /// An error, or an answer from where it should not be.
        case refused
    }

    struct Question: Sendable {
        let purpose: Purpose
        let socket: Int
        let destination: Endpoint
        var transaction: TransactionID?
        var requests = 0
        var next: MonotonicTime
        var outcome: Outcome?
    }

    let localPorts: [UInt16]
    let hostAddresses: Set<IPAddress>
    private let configuration: Configuration
    private(set) var questions: [Question]
    /// The server that has another address, and that address.
    private(set) var primary: (server: Endpoint, other: Endpoint)?
    private var hasSampled = false

    /// The first requests are due at `now`.
    ///
    /// - Parameters:
    ///   - servers: of one family.
    ///   - localPorts: of the sockets, of which there are two at least; they are not used for anything else.
    ///   - hostAddresses: this host's own: a mapped address among them with the port unchanged is no translation.
    package init(
        servers: [Endpoint], localPorts: [UInt16], hostAddresses: some Sequence<IPAddress>,
        _ configuration: Configuration = Configuration(), now: MonotonicTime
    ) {
        self.localPorts = localPorts
        self.hostAddresses = Set(hostAddresses)
        self.configuration = configuration
        questions = servers.map { Question(purpose: .mapping, socket: 0, destination: $0, next: now) }
    }

    package var isFinished: Bool { questions.allSatisfy { $0.outcome != nil } }

    /// When `poll` has something to do.
    package var nextTimer: MonotonicTime {
        questions.lazy.filter { $0.outcome == nil }.map(\.next).min() ?? .never
    }

    /// The requests that are due.
    package mutating func poll(now: MonotonicTime, using random: inout some RandomNumberGenerator) -> [Send] {
        var sends: [Send] = []
        for index in questions.indices where questions[index].outcome == nil && questions[index].next <= now {
            if questions[index].requests >= configuration.maximumRequests {
                questions[index].outcome = .silent
                continue
            }
            let transaction = questions[index].transaction ?? TransactionID(using: &random)
            questions[index].transaction = transaction
            questions[index].requests += 1
            questions[index].next = now + configuration.retryInterval
            let question = questions[index]
            sends.append(
                Send(
                    datagram: Self.request(question, transaction), destination: question.destination,
                    socket: question.socket))
        }
        return sends
    }

    /// Takes a datagram; true if it was an answer to one of the questions.
    @discardableResult
    package mutating func receive(
        _ datagram: RawSpan, from source: Endpoint, socket: Int, now: MonotonicTime
    ) -> Bool {
        guard let message = try? Message(datagram), message.method == Message.bindingMethod,
            message.messageClass == .success || message.messageClass == .error,
            let index = questions.firstIndex(where: {
                $0.transaction == message.transaction && $0.socket == socket && $0.outcome == nil
            })
        else { return false }
        let question = questions[index]
        let isFromDestination = source == question.destination
        let mapped = message.notUnderstood.isEmpty ? message.xorMappedAddress ?? message.mappedAddress : nil
        guard message.messageClass == .success, let mapped else {
            // Who refuses has been asked; what else has the transaction id is a forgery.
            guard isFromDestination else { return false }
            questions[index].outcome = .refused
            return true
        }
        switch question.purpose {
        case .filtering(let fromOtherAddress):
            let isFromOther =
                (source.address != question.destination.address) == fromOtherAddress
                && source.port != question.destination.port
            guard isFromOther || isFromDestination else { return false }
            questions[index].outcome = isFromOther ? .mapped(mapped) : .refused
        default:
            guard isFromDestination else { return false }
            questions[index].outcome = .mapped(mapped)
            proceed(after: question, other: message.otherAddress, now: now)
        }
        return true
    }

    private mutating func proceed(after question: Question, other: Endpoint?, now: MonotonicTime) {
        func ask(_ purpose: Purpose, _ socket: Int, _ destination: Endpoint) {
            questions.append(Question(purpose: purpose, socket: socket, destination: destination, next: now))
        }
        switch question.purpose {
        case .mapping:
            let server = question.destination
            if primary == nil, let other, isUsable(other, of: server) {
                primary = (server, other)
                let known = Set(questions.lazy.filter { $0.purpose == .mapping }.map(\.destination))
                for destination in [
                    Endpoint(other.address, port: server.port), other, Endpoint(server.address, port: other.port),
                ] where !known.contains(destination) { ask(.mapping, 0, destination) }
                if localPorts.count > 1 { ask(.primer, 1, server) }
            }
            if !hasSampled {
                hasSampled = true
                for socket in localPorts.indices.dropFirst(2) { ask(.sample, socket, server) }
            }
        case .primer:
            ask(.filtering(fromOtherAddress: true), question.socket, question.destination)
            ask(.filtering(fromOtherAddress: false), question.socket, question.destination)
        case .filtering, .sample: break
        }
    }

    /// Both parts differ from the server's, and a stranger could not make us send somewhere by it.
    private func isUsable(_ other: Endpoint, of server: Endpoint) -> Bool {
        other.address.isIPv6 == server.address.isIPv6 && other.address != server.address
            && other.port != server.port && other.port != 0
            && (!other.address.isRefusedAsTarget || server.address.isRefusedAsTarget)
            && !configuration.refusedTargets.contains { $0.contains(other.address) }
    }

    private static func request(_ question: Question, _ transaction: TransactionID) -> [UInt8] {
        var builder = MessageBuilder(.request, transaction: transaction)
        if case .filtering(let address) = question.purpose { builder.appendChangeRequest(address: address, port: true) }
        // As long as an answer with all of RFC 5780's addresses, so that no server needs to send more than it gets.
        let answerSize = question.destination.address.isIPv6 ? 116 : 68
        builder.append(
            .software, Array("warren".utf8) + repeatElement(0x20, count: answerSize - builder.bytes.count - 10))
        return builder.bytes
    }
}
