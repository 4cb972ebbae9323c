import Control
import Lab
import Testing

extension EndToEnd {
    /// Which way packets go: the relay first, direct where the networks allow it, and the relay where they do not.
    @Suite struct Paths {
        @Test func `agents behind two NATs meet by the relay and move to a direct path`() throws {
            try withPair { mesh, a, b in
                let relay = try Capture(in: mesh.underlay.hub, link: "eth0", filter: ["udp", "port", "3478"])
                let address = try mesh.virtualIPv6(of: b)
                let direct = try mesh.waitDirect(a, to: address)
                #expect(direct.value.endpoint == "\(Plan.siteB.publicAddress):\(Plan.tunnelPort)")
                let relayed = try relay.stop().compactMap { WireDatagram($0) }
                #expect(relayed.contains { $0.kind == .initiation && $0.source == Plan.siteA.publicAddress })
                #expect(relayed.contains { $0.kind == .initiation && $0.destination == Plan.siteB.publicAddress })
                #expect(try mesh.underlay.leaks() == [])
                figure("direct", "after \(milliseconds(direct.value.directAfterMs ?? .nan))")
            }
        }

        @Test func `agents whose networks cannot reach each other talk by the relay`() throws {
            try withMesh { mesh in
                try mesh.underlay.separateSites()
                let (a, b) = try mesh.startPair()
                let address = try mesh.virtualIPv6(of: b)
                let report = try a.ping(address, count: 100, interval: 0.02)
                #expect(report.sent == 100)
                #expect(report.lost == 0)
                #expect(try mesh.peer(of: a, at: address)?.path == "relay")
                let page = try Traffic.http(
                    from: a, to: b, host: "[\(address)]", listen: address, bytes: 5 << 20)
                figure("by the relay", "\(milliseconds(report.average)), 5 MiB by HTTP in \(seconds(page.seconds))")
            }
        }

        @Test func `a direct path that breaks falls back to the relay`() throws {
            try withPair { mesh, a, b in
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                let ping = try a.startPing(address)
                defer { ping.stop() }
                try waitUntil("an answer", timeout: 5) { !PingReport.arrivals(in: ping.standardOutput).isEmpty }
                try mesh.underlay.separateSites()
                let start = Clock.wall
                let back = try waitUntil("an answer by the relay", timeout: 20) {
                    PingReport.arrivals(in: ping.standardOutput).first { $0 > start + 0.1 }
                }.value
                #expect(back - start <= 10)
                #expect(try mesh.peer(of: a, at: address)?.path == "relay")
                figure("direct path broken", "data by the relay after \(fixed(back - start, 2)) s")
            }
        }

        @Test func `a path that carries less than the pod's interface is measured, and the pod is told`() throws {
            try withPair { mesh, a, b in
                // Between both sites datagrams of 1,380 bytes, and larger ones in fragments if their sender lets them be.
                let wan = mesh.underlay.wan
                try wan.run("ip", "link", "set", Plan.siteB.router, "mtu", "1380")
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                let ping = try a.startPing(address)
                defer { ping.stop() }
                // 1,320 bytes would fit: of the sizes that paths are likely to carry the one below.
                let limit = try waitUntil("a limit of 1280", timeout: 15) { () -> Int? in
                    let report = try a.result(of: [
                        "ping", "-6", "-M", "do", "-c", "1", "-W", "1", "-s", "1300", address,
                    ])
                    let text = report.standardOutput + report.standardError
                    return text.contains("mtu=1280") || text.contains("mtu: 1280") || text.contains("mtu = 1280")
                        ? 1280 : nil
                }
                #expect(limit.value == 1280)
                let fragments = try Capture(in: wan, link: Plan.siteB.router, filter: ["ip[6:2] & 0x3fff != 0"])
                let page = try Traffic.http(from: a, to: b, host: "[\(address)]", listen: address, bytes: 2 << 20)
                #expect(try fragments.stop().isEmpty)
                #expect(try mesh.peer(of: a, at: address)?.path == "direct")
                figure(
                    "path of 1,380 bytes",
                    "measured after \(seconds(limit.seconds)), 2 MiB by HTTP in \(seconds(page.seconds)), no fragments")
            }
        }
    }
}
