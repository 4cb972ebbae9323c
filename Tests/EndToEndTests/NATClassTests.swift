import Addressing
import Glibc
import Lab
import Testing

extension EndToEnd {
    /// The lab's NATs, each judged from inside by what STUN servers see: what the matrix stands on.
    @Suite struct NATClasses {
        @Test func `every class maps, filters and allocates as it says`() throws {
            try withSite { underlay, network, host in
                for nat in NATClass.all {
                    try network.install(nat)
                    // The fixed port is the tunnel's alone.
                    let probe = try NATProbe(from: host, port: nat.id == "node-mapped" ? Plan.tunnelPort : nil)
                    guard let behaviour = nat.behaviour else {
                        #expect(probe.isBlocked, "\(nat.id)")
                        continue
                    }
                    #expect(probe.mapping == behaviour.mapping, "\(nat.id): \(probe.mapped)")
                    #expect(probe.filtering == behaviour.filtering, "\(nat.id)")
                    #expect(
                        probe.agrees(with: behaviour.allocation), "\(nat.id): \(probe.localPort) as \(probe.ports)")
                    #expect(probe.addresses.isSubset(of: network.site.publicAddresses), "\(nat.id)")
                    #expect(probe.addresses.count == 1 || nat.id == "pool")
                }
                #expect(try underlay.leaks() == [])
            }
        }

        @Test func `a low time-to-live opens the near NAT and ends before the far one`() throws {
            try withSite { underlay, network, host in
                try network.install(.named("port-restricted"))
                let far = try SiteNetwork(underlay, Plan.siteB, programs: Programs.folder())
                let capture = try Capture(in: far.router, link: "wan", filter: ["udp"])
                let socket = try PlacedSocket.bind(in: host, "0.0.0.0", port: 40000)
                let target = try #require(Endpoint("\(Plan.siteB.publicAddress):40000"))
                for hops: Int32 in 2...5 {
                    try socket.setTimeToLive(hops)
                    socket.send([UInt8(ascii: "0") + UInt8(hops)], to: target)
                }
                #expect(try capture.stop().compactMap { WireDatagram($0) }.count == 1)
                let table = try network.router.run("conntrack", "-L", "-p", "udp")
                #expect(table.contains("dst=\(Plan.siteB.publicAddress) sport=40000 dport=40000"))
            }
        }

        @Test func `a site with IPv6 lets answers in and drops what is unasked, and has none with another class`()
            throws
        {
            try withSite { underlay, network, host in
                let far = try SiteNetwork(underlay, Plan.siteB, programs: Programs.folder())
                let peer = try underlay.sandbox.namespace("peer")
                try underlay.attach(peer, to: Plan.siteB, host: 2)
                (network.pods, far.pods) = ([2: host], [2: peer])
                for site in [network, far] { try site.install(.named("ipv6")) }
                // New links first make sure that nobody else has their addresses.
                let places = [host, peer, network.router, network.provider, underlay.wan, far.router, far.provider]
                try waitUntil("IPv6 on every link", timeout: 10) {
                    try places.allSatisfy { try !$0.run("ip", "-6", "address").contains("tentative") }
                }
                let here = try PlacedSocket.bind(in: host, Plan.siteA.podIPv6(2), port: 40000)
                let there = try PlacedSocket.bind(in: peer, Plan.siteB.podIPv6(2), port: 40000)
                let (toHere, toThere) = (
                    try #require(Endpoint("[\(Plan.siteA.podIPv6(2))]:40000")),
                    try #require(Endpoint("[\(Plan.siteB.podIPv6(2))]:40000"))
                )
                here.send([1], to: toThere)
                #expect(there.receive(timeout: 0.3) == nil)
                there.send([2], to: toHere)
                let heard = try #require(here.receive(timeout: 2))
                #expect(heard.bytes == [2])
                #expect(heard.source == toThere)
                try network.install(.named("port-restricted"))
                #expect(try !host.run("ip", "-6", "address", "show", "dev", "eth0").contains("global"))
            }
        }

        @Test func `a poison-prone router keeps what came unasked, and gives the answer another port`() throws {
            try withSite { underlay, network, host in
                for (id, port) in [("port-restricted", 40000), ("poison", nil)] {
                    try network.install(.named(id))
                    let inside = try PlacedSocket.bind(in: host, "0.0.0.0", port: 40000)
                    let outside = try PlacedSocket.bind(in: underlay.hub, Plan.hub, port: 50000)
                    let mapped = try #require(Endpoint("\(Plan.siteA.publicAddress):40000"))
                    outside.send([1], to: mapped)
                    usleep(50_000)
                    #expect(inside.receive(timeout: 0) == nil)
                    inside.send([2], to: try #require(Endpoint("\(Plan.hub):50000")))
                    let seen = try #require(outside.receive(timeout: 2))
                    #expect(seen.bytes == [2])
                    if let port { #expect(seen.source.port == port) } else { #expect(seen.source.port != 40000) }
                }
            }
        }

        @Test func `short bindings end after three seconds, those of a hairpin work from within`() throws {
            try withSite { underlay, network, host in
                try network.install(.named("short"))
                let inside = try PlacedSocket.bind(in: host, "0.0.0.0", port: 40000)
                let outside = try PlacedSocket.bind(in: underlay.hub, Plan.hub, port: 50000)
                let hub = try #require(Endpoint("\(Plan.hub):50000"))
                for (pause, arrives) in [(2.0, true), (4.2, false)] {
                    inside.send([1], to: hub)
                    let mapped = try #require(outside.receive(timeout: 2)).source
                    usleep(UInt32(pause * 1e6))
                    outside.send([2], to: mapped)
                    #expect((inside.receive(timeout: 0.3) != nil) == arrives, "after \(pause) s")
                }

                let other = try network.underlay.sandbox.namespace("other")
                try underlay.attach(other, to: Plan.siteA, host: 3)
                for (id, arrives) in [("hairpin", true), ("full-cone", false)] {
                    try network.install(.named(id))
                    inside.send([1], to: hub)
                    let mapped = try #require(outside.receive(timeout: 2)).source
                    let sibling = try PlacedSocket.bind(in: other, "0.0.0.0")
                    sibling.send([3], to: mapped)
                    let heard = inside.receive(timeout: 0.3)
                    #expect((heard?.bytes == [3]) == arrives, "\(id)")
                    if arrives { #expect(heard?.source.address.description == Plan.siteA.publicAddress) }
                }
            }
        }
    }
}

/// A far underlay with a STUN service, and one host behind site A's router.
func withSite(_ body: (Underlay, SiteNetwork, Namespace) throws -> Void) throws {
    let sandbox = try Sandbox.unique()
    Interruption.cleanUp { sandbox.tearDown() }
    defer { sandbox.tearDown() }
    let underlay = try Underlay(in: sandbox, distance: .far)
    let service = try STUNService(in: underlay)
    defer { service.stop() }
    let host = try sandbox.namespace("host")
    try underlay.attach(host, to: Plan.siteA, host: 2)
    try body(underlay, try SiteNetwork(underlay, Plan.siteA, programs: Programs.folder()), host)
}
