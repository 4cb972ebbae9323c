import Control
import Lab
import Testing

extension EndToEnd {
    /// Where no UDP passes: the relay by TLS on port 443, also through a proxy with a password.
    @Suite struct BlockedUDP {
        /// Each pair, and how either end's packets leave it.
        static let pairs = [
            ("udp-blocked", "port-restricted", "tls", "udp"), ("tcp-443", "udp-blocked", "tls", "tls"),
            ("proxy", "symmetric", "proxy", "udp"), ("proxy", "udp-blocked", "proxy", "tls"),
            ("proxy", "proxy", "proxy", "proxy"),
        ]

        @Test(.timeLimit(.minutes(3)))
        func `agents without UDP are reached by streams, which their peers and their status name`() throws {
            try withPairLab { lab in
                var memory: [String: Int] = [:]
                for (a, b, here, there) in Self.pairs {
                    try lab.install(.named(a), .named(b))
                    for caller in 0...1 {
                        let trial = try lab.trial(caller: caller, waitsForDirect: false)
                        #expect(trial.outcome == .relay, "\(a) and \(b): \(trial)")
                    }
                    for (index, transport) in [here, there].enumerated() {
                        let other = try lab.mesh.virtualIPv6(of: lab.pods[1 - index])
                        let peer = try #require(lab.peer(of: lab.pods[index], at: other))
                        #expect(peer.path == "relay" && peer.transport == transport, "\(a) and \(b): \(peer)")
                        let relays = try #require(lab.status(of: lab.pods[index])).relays
                        #expect(relays.map(\.transport) == [transport], "\(a) and \(b): \(relays)")
                        let process = try lab.mesh.sidecar(of: lab.pods[index])
                        let size = try #require(process.residentKilobytes)
                        memory[transport] = max(memory[transport] ?? 0, size)
                    }
                }
                let sizes = memory.sorted { $0.key < $1.key }.map {
                    "\($0.key) \(fixed(Double($0.value) / 1024, 1)) MiB"
                }
                figure("memory of a sidecar whose relay is reached by", sizes.joined(separator: ", "))
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `40 ms from the hub an agent without UDP has its relay in five round trips and little more`() throws {
            try withPairLab { lab in
                try lab.install(.named("udp-blocked"), .named("port-restricted"))
                try lab.setDelay(20)
                for caller in 0...1 {
                    let trial = try lab.trial(caller: caller, waitsForDirect: false)
                    let (up, ready) = (try #require(trial.relayUp), try #require(trial.ready))
                    #expect(up >= 160 && up <= 500, "\(trial)")
                    #expect(ready <= 1500, "\(trial)")
                    figure(
                        "UDP blocked, 40 ms away",
                        "relay up \(milliseconds(up)) after the join (wanted 220 ms), all \(milliseconds(ready)) after the "
                            + "start (600 ms)")
                }
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `what streams carry is whole, in bulk too, and goes on when the hub is another process`() throws {
            try withPairLab { lab in
                let kind = try NATClass.named("udp-blocked")
                try lab.install(kind, kind)
                #expect(try lab.trial(caller: 0, waitsForDirect: false).isReachable)
                let (a, b) = (lab.pods[0], lab.pods[1])
                let address = try lab.mesh.virtualIPv6(of: b)
                let page = try Traffic.http(from: a, to: b, host: "[\(address)]", listen: address, bytes: 40 << 20)
                let rate = try Traffic.throughput(from: a, to: b, address: address, seconds: 3)
                #expect(rate.megabits > 100, "\(rate)")
                figure(
                    "by TLS on both sides",
                    "40 MiB in \(seconds(page.seconds)); \(fixed(rate.megabits, 0)) Mbit/s, \(rate.retransmitted) sent again"
                )
                for pod in [a, b] {
                    let process = try lab.mesh.sidecar(of: pod)
                    let memory = try #require(process.residentKilobytes)
                    figure("memory of \(pod.name)'s sidecar after that", "\(fixed(Double(memory) / 1024, 1)) MiB")
                }
                let ping = try a.startPing(address)
                defer { ping.stop() }
                try waitUntil("an answer", timeout: 5) { !PingReport.arrivals(in: ping.standardOutput).isEmpty }
                try lab.mesh.stopHub(signal: 9)
                try lab.mesh.startHub()
                let start = Clock.wall
                let back = try waitUntil("an answer by the new process", timeout: 20) {
                    PingReport.arrivals(in: ping.standardOutput).first { $0 > start }
                }.value
                figure("hub killed and started again", "data after \(fixed(back - start, 2)) s")
            }
        }
    }
}
