import Glibc
import Lab
import NATBox
import Testing

extension EndToEnd {
    /// What stands in the way of agents without UDP, and what the userspace box does to a way.
    @Suite struct LabServices {
        @Test func `where only the proxy is let through, a client needs its password`() throws {
            try withWebServer { underlay, network, host in
                try network.install(.named("proxy"))
                let url = "https://\(Plan.hub)/"
                let proxy = LabService.proxyURL(Plan.siteA.insideGateway)
                #expect(try !host.fetch(url, "--max-time", "1").succeeded)
                #expect(try host.fetch(url, "--proxy", proxy).standardOutput == "the page")
                let bare = "http://\(Plan.siteA.insideGateway):\(LabService.proxyPort)"
                #expect(try host.fetch(url, "--proxy", bare, "-w", "%{http_connect}").standardOutput == "407")
                #expect(network.sidecarEnvironment["HTTPS_PROXY"] == proxy)
                #expect(try NATProbe(from: host).isBlocked)
            }
        }

        @Test func `a captive portal redirects plain HTTP and shows a certificate of its own`() throws {
            try withWebServer { underlay, network, host in
                try network.install(.named("captive"))
                let answer = try host.fetch("http://\(Plan.hub)/", "-w", "%{http_code} %{redirect_url}")
                #expect(answer.standardOutput == "302 http://\(LabService.portalName)/login")
                #expect(try host.certificate(Plan.hub).contains(LabService.portalName))
                #expect(try NATProbe(from: host).isBlocked)
            }
        }

        @Test func `an intercepting proxy passes a page on under a certificate of its own`() throws {
            try withWebServer { underlay, network, host in
                for (id, name) in [("udp-blocked", "the origin"), ("intercepted", "Inspection CA")] {
                    try network.install(.named(id))
                    #expect(try host.fetch("https://\(Plan.hub)/").standardOutput == "the page")
                    #expect(try host.certificate(Plan.hub).contains(name), "\(id)")
                    #expect(try NATProbe(from: host).isBlocked)
                }
            }
        }

        @Test func `where only port 443 is let through, other ports are closed`() throws {
            try withWebServer { underlay, network, host in
                let other = try underlay.hub.spawn(["socat", "TCP4-LISTEN:8080,fork,reuseaddr", "SYSTEM:printf there"])
                defer { other.stop() }
                try underlay.hub.waitListening(tcp: 8080, other)
                for (id, isOpen) in [("udp-blocked", true), ("tcp-443", false)] {
                    try network.install(.named(id))
                    #expect(try host.fetch("https://\(Plan.hub)/").standardOutput == "the page")
                    let options = ["--http0.9", "--max-time", isOpen ? "5" : "1"]
                    let text = try host.fetch("http://\(Plan.hub):8080/", options).standardOutput
                    #expect(text == (isOpen ? "there" : ""), "\(id)")
                }
            }
        }

        @Test func `weather delays both ways, loses what it should, and goes again`() throws {
            try withSite { underlay, network, host in
                try network.install(.named("port-restricted"))
                #expect(try host.ping(Plan.hub, count: 20, interval: 0.01).average < 10)
                try network.setWeather(outward: Weather(delay: 20), inward: Weather(delay: 20))
                let slow = try host.ping(Plan.hub, count: 50, interval: 0.02)
                #expect(slow.lost == 0)
                #expect(slow.minimum >= 40)
                figure("20 ms each way", "\(milliseconds(slow.average)) on average")

                var bad = Weather(delay: 1)
                bad.loss = 0.2
                try network.setWeather(outward: bad, inward: Weather(delay: 1))
                let lossy = try host.ping(Plan.hub, count: 300, interval: 0.01)
                #expect((30...100).contains(lossy.lost))
                try network.clearWeather()
                #expect(try host.ping(Plan.hub, count: 20, interval: 0.01).lost == 0)
            }
        }
    }
}

/// As `withSite`, with a page by HTTPS at the hub's place whose certificate names "the origin".
private func withWebServer(_ body: (Underlay, SiteNetwork, Namespace) throws -> Void) throws {
    try withSite { underlay, network, host in
        let folder = underlay.sandbox.path("web")
        try makeFolder(folder)
        try underlay.hub.run(
            "sh", "-eu", "-c",
            """
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=the origin" \
                -keyout "$1/key" -out "$1/certificate" 2>/dev/null
            """, "sh", folder)
        let server = try underlay.hub.spawn(["/usr/bin/python3", "-c", webServer, folder])
        defer { server.stop() }
        try underlay.hub.waitListening(tcp: 443, server)
        try body(underlay, network, host)
    }
}

/// Argument: a folder with `key` and `certificate`.
private let webServer = """
    import http.server, ssl, sys
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"the page")
    server = http.server.ThreadingHTTPServer(("", 443), Page)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1] + "/certificate", sys.argv[1] + "/key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
    """

extension Namespace {
    /// A page by curl, whoever signed its certificate.
    fileprivate func fetch(_ url: String, _ options: String...) throws -> Output { try fetch(url, options) }

    fileprivate func fetch(_ url: String, _ options: [String]) throws -> Output {
        try result(of: ["curl", "-ks", "--max-time", "5"] + options + [url])
    }

    /// Who is named by the certificate that answers on port 443.
    fileprivate func certificate(_ host: String) throws -> String {
        let words = [
            "sh", "-c", "openssl s_client -connect \(host):443 </dev/null 2>/dev/null | openssl x509 -noout -subject",
        ]
        return try result(of: words).standardOutput
    }
}
