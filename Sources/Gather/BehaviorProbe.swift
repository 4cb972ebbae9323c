package import Addressing
import Linux
package import STUN
import Sodium
import Timing
import Transport

/// Runs a `BehaviorDiscovery` over sockets of its own. Blocks for some two seconds at most.
///
/// What a NAT does to them it does to the tunnel's socket; that one is not used, so that no answer opens a filter for it.
package enum BehaviorProbe {
    /// Sockets beside the first two, each for one more port allocation.
    package static let sampleSockets = 6

    /// What the servers, all of one family, see of this host. Call it on a thread that may wait.
    ///
    /// - Parameter refusedTargets: what no server may make us send to.
    package static func run(
        servers: [Endpoint], hostAddresses: [IPAddress], refusedTargets: [IPPrefix] = []
    ) throws -> BehaviorReport {
        guard let family = servers.first?.address.isIPv6 else { return BehaviorReport() }
        let servers = servers.filter { $0.address.isIPv6 == family }
        let sockets = try (0..<2 + sampleSockets).map { _ in SharedSocket(try UDPSocket(family ? .ipv6 : .ipv4)) }
        let epoll = try Epoll()
        for (index, socket) in sockets.enumerated() { try epoll.add(socket.udp.raw, .read, token: UInt64(index)) }
        var random = SecureRandom()
        var configuration = BehaviorDiscovery.Configuration()
        configuration.refusedTargets = refusedTargets
        var discovery = BehaviorDiscovery(
            servers: servers, localPorts: sockets.map { $0.udp.port }, hostAddresses: hostAddresses, configuration,
            now: .now())
        var buffer = [UInt8](repeating: 0, count: 2048)
        while !discovery.isFinished {
            let now = MonotonicTime.now()
            for send in discovery.poll(now: now, using: &random) {
                sockets[send.socket].udp.send(send.datagram, to: send.destination)
            }
            if discovery.isFinished { break }
            for event in try epoll.wait(timeout: discovery.nextTimer.since(.now())) {
                let index = Int(event.token)
                // Bounded, as a flood must not keep the timers from running.
                for _ in 0..<64 {
                    guard
                        let (length, source) = unsafe buffer.withUnsafeMutableBytes({
                            unsafe sockets[index].udp.receive(into: $0)
                        })
                    else { break }
                    discovery.receive(
                        unsafe buffer.span.bytes.extracting(0..<length), from: source, socket: index, now: .now())
                }
            }
        }
        return discovery.behavior
    }
}
