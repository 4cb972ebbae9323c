package import Addressing
import Linux
import STUN
import Sodium
package import Timing
import Transport

/// Asks STUN servers once over UDP: who answers, and in which time. Blocks for at most a second.
package enum ServerPing {
    /// The round trips of those that answered.
    package static func run(_ servers: [Endpoint]) throws -> [Endpoint: Interval] {
        var sockets: [SharedSocket] = []
        for family in Set(servers.map(\.address.isIPv6)) {
            sockets.append(SharedSocket(try UDPSocket(family ? .ipv6 : .ipv4)))
        }
        let epoll = try Epoll()
        for (index, socket) in sockets.enumerated() { try epoll.add(socket.udp.raw, .read, token: UInt64(index)) }
        var configuration = BindingClient.Configuration()
        configuration.initialTimeout = .milliseconds(250)
        configuration.maximumRequests = 3
        configuration.lastTimeoutFactor = 1
        var client = BindingClient(servers: servers, configuration, now: .now())
        var random = SecureRandom()
        var sent: [Endpoint: MonotonicTime] = [:]
        var answers: [Endpoint: Interval] = [:]
        var failed: Set<Endpoint> = []
        var buffer = [UInt8](repeating: 0, count: 2048)
        while answers.count + failed.count < Set(servers).count {
            for action in client.poll(now: .now(), using: &random) {
                switch action {
                case .send(let bytes, let server):
                    sent[server] = .now()
                    sockets.first { ($0.udp.family == .ipv6) == server.address.isIPv6 }?.udp.send(bytes, to: server)
                case .failed(let server, _): failed.insert(server)
                }
            }
            if answers.count + failed.count >= Set(servers).count { break }
            for event in try epoll.wait(timeout: client.nextTimer.since(.now())) {
                for _ in 0..<64 {
                    guard
                        let (length, source) = unsafe buffer.withUnsafeMutableBytes({
                            unsafe sockets[Int(event.token)].udp.receive(into: $0)
                        })
                    else { break }
                    let now = MonotonicTime.now()
                    switch client.receive(
                        unsafe buffer.span.bytes.extracting(0..<length), from: source, now: now)
                    {
                    case .mapped(let mapping):
                        answers[mapping.server] = mapping.roundTrip ?? now.since(sent[mapping.server] ?? now)
                    case .failed(let server, _): failed.insert(server)
                    case .refused: break
                    }
                }
            }
        }
        return answers
    }
}
