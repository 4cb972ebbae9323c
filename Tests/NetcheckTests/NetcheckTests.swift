import Addressing
import Control
import Membership
import PortMapping
import Sodium
import Testing
import Timing

@testable import Netcheck

@Suite struct CaptivePortalTests {
    func response(_ text: String) throws -> HTTPResponse {
        guard case .complete(let response) = HTTPResponse.read(Array(text.utf8), isEnded: true) else {
            throw MembershipError.malformed("test response")
        }
        return response
    }

    func evidence(_ text: String, nobody: Bool) throws -> String? {
        let address = try #require(HubAddress(nobody ? "192.0.2.1:80" : "hub.example:443"))
        return CaptivePortal.evidence(in: try response(text), from: .init(address: address, isNobodys: nobody))
    }

    @Test func `a page or a redirect from an address that is nobody's is a portal's`() throws {
        #expect(
            try evidence("HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/x\r\n\r\n", nobody: true)
                == "http://login.hotel.example/x")
        #expect(try evidence("HTTP/1.1 200 OK\r\n\r\n<html>", nobody: true) != nil)
        #expect(try evidence("HTTP/1.1 511 x\r\n\r\n", nobody: true) != nil)
        #expect(try evidence("HTTP/1.1 502 Bad Gateway\r\n\r\n", nobody: true) == nil)
    }

    @Test func `the hub's own web server may have pages and send to itself, not elsewhere`() throws {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 301 x\r\nLocation: https://hub.example/\r\n\r\n",
            "HTTP/1.1 301 x\r\nLocation: https://HUB.example:8443/y\r\n\r\n", "HTTP/1.1 301 x\r\nLocation: /y\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 404 x\r\n\r\n",
        ] {
            #expect(try evidence(text, nobody: false) == nil)
        }
        #expect(try evidence("HTTP/1.1 302 x\r\nLocation: http://hub.example.evil/\r\n\r\n", nobody: false) != nil)
        #expect(
            try evidence("HTTP/1.1 302 x\r\nLocation: http://hub.example@login.example/\r\n\r\n", nobody: false) != nil)
        #expect(try evidence("HTTP/1.1 511 x\r\n\r\n", nobody: false) != nil)
    }

    @Test func `nobody is asked for only where nobody is`() {
        #expect(CaptivePortal.nobody(besides: []) == IPv4Address(192, 0, 2, 1))
        #expect(CaptivePortal.nobody(besides: [.v4(IPv4Address(192, 0, 2, 77))]) == IPv4Address(198, 51, 100, 1))
        let all = ["192.0.2.9", "198.51.100.9", "203.0.113.9"].compactMap { IPAddress($0) }
        #expect(CaptivePortal.nobody(besides: all) == nil)
    }

    @Test func `what a portal says is fit for a terminal`() throws {
        let evil = try evidence("HTTP/1.1 302 x\r\nLocation: http://a/\u{1b}[2J\u{202e}b\r\n\r\n", nobody: true)
        #expect(evil == "http://a/[2Jb")
    }
}

@Suite struct ProxyAddressTests {
    @Test func `a URL gives address and credentials, and never shows these`() throws {
        let proxy = try #require(ProxyAddress("http://user:p%40ss@proxy.example:3128/"))
        #expect(proxy.address.description == "proxy.example:3128")
        #expect(proxy.authorization == "Basic " + Base64.encode(Array("user:p@ss".utf8)))
        #expect(ProxyAddress("proxy.example:3128")?.authorization == nil)
        #expect(ProxyAddress("http://[2001:db8::1]:8080")?.address.host == "2001:db8::1")
        #expect(ProxyAddress("http://proxy.example")?.address.port == 80)
    }

    @Test(arguments: ["https://proxy.example:3128", "socks5://x:1", "http://", "http://a b:1", "http://u:%zz@x:1"])
    func `another scheme and what is no URL are refused`(text: String) {
        #expect(ProxyAddress(text) == nil)
    }
}

@Suite struct CertificateNameTests {
    @Test func `the issuer's and the subject's common names are read, without control characters`() {
        func name(_ text: String) -> [UInt8] {
            [0x30, 0x00, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, UInt8(text.utf8.count)] + Array(text.utf8)
        }
        let der = [0x30, 0x82] + name("Evil\u{1b}[31m CA") + [1, 2, 3] + name("hub.example")
        #expect(CertificateName.commonNames(in: der) == ["Evil[31m CA", "hub.example"])
        for count in 0..<der.count { _ = CertificateName.commonNames(in: Array(der.prefix(count))) }
        #expect(CertificateName.commonNames(in: [0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x7f, 0x41]) == [])
    }
}

@Suite struct MeshPlacesTests {
    @Test func `a hub's document gives relays and STUN servers, and what is malformed in it is left out`() throws {
        let pin = Bytes32([UInt8](repeating: 7, count: 32)) ?? .zero
        let text = """
            {"status":"ok","roles":{"relay":"on"},"relays":[{"id":"ab\\u001bcd","udp":["192.0.2.1:3478","nonsense"],\
            "tls":"hub.example:443","pin":"\(pin.base64)"},{"id":"x","udp":[]}],"stun":["[2001:db8::1]:3478","?"]}
            """
        let places = try #require(MeshPlaces(health: Array(text.utf8)))
        #expect(places.relays.map(\.id) == ["abcd", "x"])
        #expect(places.relays[0].udp == [Endpoint("192.0.2.1:3478")])
        #expect(places.relays[0].tls == HubAddress("hub.example:443"))
        #expect(places.relays[0].pin == pin)
        #expect(places.stun == [Endpoint("[2001:db8::1]:3478")])
        #expect(places.servers.count == 2)
        #expect(MeshPlaces(health: Array("{\"status\":\"ok\"}".utf8)) == MeshPlaces())
        #expect(MeshPlaces(health: Array("<html>".utf8)) == nil)
        let many = "{\"stun\":[" + (0..<100).map { "\"192.0.2.\($0):1\"" }.joined(separator: ",") + "]}"
        #expect(MeshPlaces(health: Array(many.utf8))?.stun.count == 16)
    }
}

@Suite struct StreamProbeTests {
    @Test func `a closed port refuses, and a name that is none has no address`() async throws {
        // Port 1 is never listened on here.
        let closed = await StreamProbe(try #require(HubAddress("127.0.0.1:1")), pin: nil).run()
        #expect(closed.failure == .refused)
        let proxy = try #require(ProxyAddress("127.0.0.1:1"))
        let through = await StreamProbe(try #require(HubAddress("192.0.2.1:443")), proxy: proxy, pin: .zero).run()
        #expect(through.failure == .proxyUnreachable("it refuses connections"))
    }

    @Test func `each outcome has its words`() throws {
        let address = try #require(HubAddress("hub.example:443"))
        let failures: [(StreamProbe.Failure, String, String)] = [
            (.refused, "refused", "refuses connections"), (.timeout, "timeout", "no answer in time"),
            (.noAddress, "no-address", "its name has no address in DNS"), (.unreachable("x"), "unreachable", "x"),
            (.notTLS("x"), "not-tls", "answers, but not in TLS: x"), (.proxyUnreachable("x"), "proxy-unreachable", "x"),
            (.proxyRefused(407), "proxy-refused", "status 407: it wants credentials, or others"),
            (.proxyRefused(403), "proxy-refused", "status 403"),
            (
                .intercepted(issuer: "CA", subject: "hub"), "intercepted",
                "an intercepting proxy presents another certificate, for hub, issued by CA"
            ),
        ]
        for (failure, state, words) in failures {
            let report = ReachReport(address, StreamProbe.Outcome(failure: failure))
            #expect(report.state == state)
            #expect(report.words == words)
            #expect(!report.isReachable)
        }
    }
}

@Suite struct NetworkCheckTests {
    @Test func `problems are named, the worst first`() {
        var report = NetcheckReport()
        report.captivePortal = "http://login.example/"
        report.interceptingProxy = "Corp CA"
        report.hub = ReachReport(address: "hub.example:443", state: "timeout")
        report.relays = [
            .init(id: "a", udp: [.init(address: "192.0.2.1:3478", state: "timeout")], tls: nil, proxy: nil)
        ]
        report.ipv4 = NATReport(
            udp: false, mapped: [], isTranslated: nil, mapping: nil, filtering: nil, allocation: nil, pooling: nil,
            summary: "")
        let problems = NetworkCheck(hub: nil).problems(of: report)
        #expect(problems.count == 5)
        for (problem, start) in zip(
            problems, ["captive portal", "intercepting proxy", "hub hub.example:443", "relay 192.0.2.1:3478", "UDP"])
        {
            #expect(problem.hasPrefix(start))
        }
        #expect(NetworkCheck(hub: nil).problems(of: NetcheckReport()) == [])
    }
}
