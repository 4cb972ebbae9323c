import Addressing
import DNS
import Testing

@Suite struct MeshZoneTests {
    let domain = DomainName("demo.warren.internal") ?? .root
    var zone: MeshZone {
        MeshZone(
            domain: domain,
            ranges: ["fd77:6172:7265::/48", "100.96.0.0/16", "10.64.0.0/10"].compactMap { IPPrefix($0) })
    }

    func place(_ name: String) -> MeshZone.Place { DomainName(name).map { zone.place(of: $0) } ?? .outside }

    @Test func `agents, groups and services have their names`() {
        #expect(place("web-0.default.demo.warren.internal") == .known(.agent("web-0.default"), nil, zone: domain))
        #expect(place("LAPTOP.Demo.Warren.Internal.") == .known(.agent("laptop"), nil, zone: domain))
        #expect(place("web.default.group.demo.warren.internal") == .known(.group("web.default"), nil, zone: domain))
        #expect(
            place("_http._tcp.web.default.demo.warren.internal")
                == .known(.agent("web.default"), .init(name: "http", transport: "tcp"), zone: domain))
        #expect(place("demo.warren.internal") == .empty(zone: domain))
    }

    @Test func `what can be no agent's name is nowhere`() {
        for name in [
            "_http.demo.warren.internal", "_http._tcp.demo.warren.internal", "a_b.demo.warren.internal",
            "-a.demo.warren.internal", "a-.demo.warren.internal", "_._tcp.a.demo.warren.internal",
            String(repeating: "a", count: 40) + "." + String(repeating: "b", count: 40) + ".demo.warren.internal",
        ] { #expect(place(name) == .nowhere(zone: domain), "\(name)") }
    }

    @Test func `other names are outside, also those that look alike`() {
        for name in [
            "warren.internal", "demo.warren.internal.example.com", "xdemo.warren.internal", "other.warren.internal",
            "api.default.svc.cluster.local", ".", "ip6.arpa", "1.0.0.10.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa",
        ] { #expect(place(name) == .outside, "\(name)") }
        // A label's inside that is written like the domain is no parent.
        let name = DomainName(labels: [[1] + Array("x\u{4}demo\u{6}warren\u{8}internal".utf8)])
        #expect(name.map { zone.place(of: $0) } == .outside)
    }

    @Test(arguments: ["fd77:6172:7265:1::7", "100.96.3.4", "10.65.0.1", "10.127.255.255"])
    func `an address of the mesh is found by its reverse name`(text: String) throws {
        let address = try #require(IPAddress(text))
        guard case .known(let key, nil, let zone) = zone.place(of: ReverseName.name(of: address)) else {
            Issue.record("not known")
            return
        }
        #expect(key == .address(address))
        #expect(ReverseName.name(of: address).isWithin(zone) || text.hasPrefix("10."))
    }

    @Test func `networks between a range and its addresses are empty, and above it not ours`() throws {
        #expect(place("1.0.0.0.5.6.2.7.2.7.1.6.7.7.d.f.ip6.arpa") != .outside)
        #expect(place("7.7.d.f.ip6.arpa") == .outside)
        #expect(place("3.96.100.in-addr.arpa") != .outside)
        #expect(place("96.100.in-addr.arpa") != .outside)
        #expect(place("100.in-addr.arpa") == .outside)
        for name in ["x.96.100.in-addr.arpa", "256.96.100.in-addr.arpa", "01.96.100.in-addr.arpa", "g.d.f.ip6.arpa"] {
            #expect(place(name) == .outside)
        }
    }

    @Test func `the resolver's addresses are in block 0, which no node gives out`() throws {
        let range = try #require(IPPrefix("fd77:6172:7265::/48"))
        let address = try #require(ResolverAddress.ipv6(inMesh: range))
        #expect(address.description == "fd77:6172:7265::53")
        #expect(ResolverAddress.isOne(.v6(address)))
        #expect(ResolverAddress.isOne(.v4(IPv4Address(169, 254, 53, 53))))
        #expect(!ResolverAddress.isOne(.v6(.loopback)))
        #expect(try !ResolverAddress.isOne(#require(IPAddress("fd77:6172:7265:1::53"))))
        #expect(try ResolverAddress.ipv6(inMesh: #require(IPPrefix("fd00::/64"))) == nil)
    }

    @Test func `servers come from configuration or resolv.conf, never ourselves`() {
        #expect(ServerList.endpoint("10.96.0.10")?.description == "10.96.0.10:53")
        #expect(ServerList.endpoint("10.96.0.10:5353")?.description == "10.96.0.10:5353")
        #expect(ServerList.endpoint("[fd00::a]:53")?.description == "[fd00::a]:53")
        #expect(ServerList.endpoint("fd00::a")?.description == "[fd00::a]:53")
        for text in ["", "dns", "10.0.0.1:0", "10.0.0.1:", "[fd00::a]"] { #expect(ServerList.endpoint(text) == nil) }
        let text = "# c\nsearch a\nnameserver 169.254.53.53\nnameserver\t10.0.0.1 # x\nnameserver fe80::1%eth0\n"
        #expect(
            ServerList.servers(inResolvConf: text, besides: [.v4(ResolverAddress.ipv4)]).map(\.description)
                == ["10.0.0.1:53"])
    }
}
