import Addressing
import STUN
import Timing

/// STUN binding requests from any of our sockets (RFC 8489 section 6, RFC 5780 section 4).
///
/// A response counts only if an outstanding request has its transaction id, went out from the socket that it came in on,
/// and went to where it comes from, unless it asked for another source.
struct BindingRequests {
    enum Purpose: Equatable {
        /// How the home sockets, and others for comparison, are seen.
        case mapping
        /// Whether the mapping is still what it was.
        case refresh
        /// RFC 5780 section 4.4: from the socket that only one server's endpoint has heard of.
        case filtering(FilteringTest)
        /// How a socket is seen that this peer is to find.
        case opening(AgentID)
    }

    enum FilteringTest: Equatable {
        case mapping, otherAddress, otherPort, remapping
    }

    struct Request {
        let transaction: TransactionID
        let socket: SocketID
        let server: Endpoint
        let purpose: Purpose
        /// The place in the order in which sockets first sent to servers.
        let order: Int
        var sent = 0
        var next: MonotonicTime
    }

    struct Answer {
        let request: Request
        let mapped: Endpoint
        let otherAddress: Endpoint?
    }

    static let spacing: [Interval] = [
        .milliseconds(100), .milliseconds(150), .milliseconds(250), .milliseconds(500), .milliseconds(500),
    ]
    /// Tests that fail where nothing is wrong do not wait as long.
    static let triesOfTest = 3
    /// Requests are padded to this size, so that the answer is not larger.
    private static let requestSize = 60

    private(set) var outstanding: [Request] = []
    private var count = 0

    var next: MonotonicTime { outstanding.lazy.map(\.next).min() ?? .never }

    func contains(_ purpose: Purpose) -> Bool { outstanding.contains { $0.purpose == purpose } }

    mutating func add(
        _ socket: SocketID, _ server: Endpoint, _ purpose: Purpose, transaction: TransactionID, now: MonotonicTime
    ) {
        outstanding.append(
            Request(
                transaction: transaction, socket: socket, server: server, purpose: purpose, order: count, next: now))
        count += 1
    }

    mutating func cancel(where isCancelled: (Request) -> Bool) { outstanding.removeAll(where: isCancelled) }

    /// What is to be sent now, in the order in which it was asked for, and what was given up.
    mutating func due(now: MonotonicTime) -> (sends: [(bytes: [UInt8], route: Route)], failed: [Request]) {
        guard next <= now else { return ([], []) }
        var sends: [(bytes: [UInt8], route: Route)] = []
        var failed: [Request] = []
        for index in outstanding.indices where outstanding[index].next <= now {
            let request = outstanding[index]
            let isTest = request.purpose == .filtering(.otherAddress) || request.purpose == .filtering(.otherPort)
            if request.sent >= (isTest ? Self.triesOfTest : Self.spacing.count) {
                failed.append(request)
                continue
            }
            sends.append((Self.bytes(of: request), Route(request.socket, request.server)))
            outstanding[index].next = now + Self.spacing[request.sent]
            outstanding[index].sent += 1
        }
        for request in failed { outstanding.removeAll { $0.transaction == request.transaction } }
        return (sends, failed)
    }

    /// The answer in a datagram; nil when it answers nothing that was asked.
    mutating func answer(_ datagram: [UInt8], on socket: SocketID, from source: Endpoint) -> Answer? {
        let message: Message
        do throws(MessageFault) { message = try unsafe Message(datagram.span.bytes) } catch { return nil }
        guard message.messageClass == .success, message.method == Message.bindingMethod, message.notUnderstood.isEmpty,
            let mapped = message.xorMappedAddress ?? message.mappedAddress,
            let index = outstanding.firstIndex(where: {
                $0.transaction == message.transaction && $0.socket == socket
            })
        else { return nil }
        let request = outstanding[index]
        switch request.purpose {
        case .filtering(.otherAddress): guard source.address != request.server.address else { return nil }
        case .filtering(.otherPort):
            guard source.address == request.server.address, source.port != request.server.port else { return nil }
        default: guard source == request.server else { return nil }
        }
        outstanding.remove(at: index)
        return Answer(request: request, mapped: mapped, otherAddress: message.otherAddress)
    }

    private static func bytes(of request: Request) -> [UInt8] {
        var builder = MessageBuilder(.request, transaction: request.transaction)
        switch request.purpose {
        case .filtering(.otherAddress): builder.append(.changeRequest, [0, 0, 0, 6])
        case .filtering(.otherPort): builder.append(.changeRequest, [0, 0, 0, 2])
        default: break
        }
        // SOFTWARE, not PADDING: a server may ignore the one and must refuse the other if it does not know it.
        let room = requestSize - builder.bytes.count - 4
        builder.append(.software, Array("warren".utf8) + repeatElement(0x20, count: room - 6))
        return builder.bytes
    }
}
