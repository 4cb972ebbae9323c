package import Addressing
import CLinux
import Glibc
import Linux
import STUN
import Sodium
package import Timing
import Transport

/// How many routers away the outermost NAT is, by the routers' own word.
///
/// A datagram that is to make an entry in every NAT of ours, and to die before the peer's, must be given as many hops and no
/// more. Each router that lets one expire says so from an address of its own (RFC 792): those of private networks and of a
/// carrier's inner one are behind a NAT, which is the last of them at the nearest.
package enum NATDepth {
    /// Further away than this none is looked for.
    package static let farthest = 4

    /// Blocks for `wait` at most: call it on a thread that may. Nil when no router said a thing.
    ///
    /// - Parameter server: where the probes are sent, which is none of their business: a STUN server over IPv4.
    package static func measure(toward server: Endpoint, wait: Interval = .milliseconds(300)) throws -> Int? {
        let epoll = try Epoll()
        var random = SecureRandom()
        let request = MessageBuilder(.request, transaction: TransactionID(using: &random)).bytes
        var probes: [SharedSocket] = []
        for hops in 1...farthest {
            let probe = SharedSocket(try UDPSocket(.ipv4))
            var on: Int32 = 1
            guard
                unsafe setsockopt(
                    probe.udp.raw, Int32(IPPROTO_IP), IP_RECVERR, &on, socklen_t(MemoryLayout<Int32>.size)) == 0
            else { throw SystemError("setsockopt IP_RECVERR", .current) }
            try epoll.add(probe.udp.raw, .error, token: UInt64(hops))
            probe.udp.send(request, to: server, ttl: UInt8(hops))
            probes.append(probe)
        }
        let end = MonotonicTime.now() + wait
        var routers: [Int: IPv4Address] = [:]
        while routers.count < farthest {
            let events = try epoll.wait(timeout: end.since(.now()))
            if events.isEmpty { break }
            for event in events {
                let hops = Int(event.token)
                var router: UInt32 = 0
                if unsafe CLinux_take_expiry(probes[hops - 1].udp.raw, &router) == 1 {
                    routers[hops] = IPv4Address(value: router)
                } else {
                    // Another error, as that the server's network is not reached: it ends the probe.
                    _ = try? epoll.remove(probes[hops - 1].udp.raw)
                }
            }
        }
        return depth(routers)
    }

    /// The outermost NAT's distance, from the routers' addresses by their distances.
    static func depth(_ routers: [Int: IPv4Address]) -> Int? {
        routers.isEmpty ? nil : max(1, routers.filter { IPAddress.v4($0.value).isPrivate }.keys.max() ?? 1)
    }
}
