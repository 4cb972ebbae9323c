import Addressing
package import Linux
package import PortMapping
import Sodium
import Synchronization
package import Timing
import Transport

/// A `GatewayClient` at work: its UDP sockets and TCP connections, in a loop on the thread that calls `run`.
package final class GatewaySession: @unchecked Sendable {
    // Safe: everything but `wake` is touched only in `run`, by the one thread that calls it.
    private var client: GatewayClient
    private let socket: UDPSocket
    /// Where gateways announce a restart; none while a program that does not share has the port.
    private let announcements: SharedSocket?
    private let epoll: Epoll
    private let wake: EventFD
    private var exchanges: [Int: StreamExchange] = [:]
    private var buffer = [UInt8](repeating: 0, count: 2048)
    private var random = SecureRandom()
    private let report: @Sendable (MappedPort?) -> Void

    private static let socketToken = UInt64.max
    private static let announceToken = UInt64.max - 1
    private static let wakeToken = UInt64.max - 2
    private static let exchangeLimit = 8
    /// How long deletions may take at the end.
    private static let farewell = Interval.milliseconds(500)

    /// - Parameters:
    ///   - internalPort: the UDP port that is to be reached from outside.
    ///   - report: told the mapping whenever it changes, nil for none; on the session's thread.
    package init(
        _ gateway: DefaultGateway, internalPort: UInt16, _ purpose: GatewayClient.Purpose,
        _ configuration: GatewayClient.Configuration = .init(),
        report: @escaping @Sendable (MappedPort?) -> Void = { _ in }
    ) throws {
        let socket = try UDPSocket(.ipv4)
        let announcements = try? SharedSocket(UDPSocket(.ipv4, port: GatewayClient.announcePort, isShared: true))
        let epoll = try Epoll()
        let wake = try EventFD()
        try epoll.add(socket.raw, .read, token: Self.socketToken)
        if let announcements { try epoll.add(announcements.udp.raw, .read, token: Self.announceToken) }
        try epoll.add(wake.raw, .read, token: Self.wakeToken)
        var random = SecureRandom()
        client = GatewayClient(
            gateway: gateway.gateway, host: gateway.host, internalPort: internalPort, purpose, configuration,
            now: .now(), using: &random)
        self.socket = socket
        self.announcements = announcements
        self.epoll = epoll
        self.wake = wake
        self.report = report
    }

    /// Ends `run`, from any thread; the mapping is given up.
    package func stop() { wake.signal() }

    /// Works until `stop`, which may take half a second; throws when the kernel refuses to go on.
    package func run() throws(SystemError) {
        while try turn(until: .never) {}
        try leave()
    }

    /// Works until each protocol has been found or not, at most for `limit`, and returns what there is.
    package func discover(within limit: Interval) throws(SystemError) -> [MappingProtocol: MappingFinding] {
        let deadline = MonotonicTime.now() + limit
        while MonotonicTime.now() < deadline {
            // The last to give up does so in a poll.
            perform(client.poll(now: .now()))
            guard !client.isSettled, try turn(until: deadline) else { break }
        }
        return client.findings
    }

    /// One wait and what follows from it; false after `stop`.
    private func turn(until deadline: MonotonicTime) throws(SystemError) -> Bool {
        perform(client.poll(now: .now()))
        let next = min(deadline, client.nextTimer, exchanges.values.map(\.deadline).min() ?? .never)
        let events = try epoll.wait(timeout: next == .never ? nil : next.since(.now()))
        for event in events {
            switch event.token {
            case Self.wakeToken: return false
            case Self.socketToken: receive(isAnnouncement: false)
            case Self.announceToken: receive(isAnnouncement: true)
            default: advance(Int(event.token))
            }
        }
        let now = MonotonicTime.now()
        for (number, exchange) in exchanges where exchange.deadline <= now { finish(number, nil) }
        return true
    }

    private func receive(isAnnouncement: Bool) {
        // Bounded, as a flood must not keep the timers from running.
        for _ in 0..<64 {
            let received = unsafe buffer.withUnsafeMutableBytes { buffer in
                guard isAnnouncement else { return unsafe socket.receive(into: buffer) }
                return unsafe announcements?.udp.receive(into: buffer) ?? nil
            }
            guard let (length, source) = received else { return }
            perform(
                client.receive(unsafe buffer.span.bytes.extracting(0..<length), from: source, now: .now()))
        }
    }

    private func perform(_ actions: [MappingAction]) {
        var hasChanged = false
        for action in actions {
            switch action {
            case .send(let bytes, let endpoint): socket.send(bytes, to: endpoint)
            case .exchange(let number, let endpoint, let request):
                guard exchanges.count < Self.exchangeLimit,
                    let exchange = StreamExchange(number: number, to: endpoint, request: request, now: .now()),
                    (try? epoll.add(exchange.raw, [.read, .write, .edgeTriggered], token: UInt64(number))) != nil
                else {
                    perform(client.exchanged(number, nil, now: .now(), using: &random))
                    continue
                }
                exchanges[number] = exchange
            case .gained, .lost: hasChanged = true
            }
        }
        if hasChanged { report(client.mapped) }
    }

    private func advance(_ number: Int) {
        switch exchanges[number]?.advance() {
        case .complete(let response): finish(number, response)
        case .malformed: finish(number, nil)
        case .incomplete, nil: break
        }
    }

    private func finish(_ number: Int, _ response: HTTPResponse?) {
        // Closing the descriptor takes it out of the epoll.
        exchanges[number] = nil
        perform(client.exchanged(number, response, now: .now(), using: &random))
    }

    /// Deletes the mapping, and waits for what takes a connection.
    private func leave() throws(SystemError) {
        exchanges = [:]
        perform(client.stop())
        let deadline = MonotonicTime.now() + Self.farewell
        while !exchanges.isEmpty, MonotonicTime.now() < deadline {
            for event in try epoll.wait(timeout: deadline.since(.now())) where event.token < Self.wakeToken {
                advance(Int(event.token))
            }
        }
    }
}
