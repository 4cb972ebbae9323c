import Control
import Foundation
import Glibc
import Lab
import STUN
import Testing

extension Interoperability {
    /// `warren netcheck` as a person runs it, without privilege, behind NATs, proxies and portals.
    @Suite(.serialized) struct NetcheckTests {
        @Test func `these tests have their tools`() {
            #expect(
                Requirements.missing([("openssl", "openssl"), ("python3", "python3"), ("setpriv", "util-linux")]) == [])
        }

        @Test(arguments: [0, 1, 3])
        func `NAT, relays with round trips and the hub are told, with the token alone`(index: Int) throws {
            let kind = NATBench.kinds[index]
            try withCheckedNetwork { bench, hub in
                try bench.become(kind)
                let token = bench.sandbox.path("token")
                try writeText(try hub.token(bench), to: token, owner: Plan.sidecarUID)
                let (report, _) = try Self.check(bench, "--token-file", token)
                #expect(report.gateway == NATBench.gateway)
                #expect(report.addresses == [NATBench.hostAddress])
                #expect(report.ipv4?.udp == true)
                #expect(report.ipv4?.mapping == kind.mapping.rawValue)
                #expect(report.ipv4?.filtering == kind.filtering.rawValue)
                #expect(report.ipv4?.allocation == kind.allocation?.description)
                #expect(report.ipv4?.mapped.allSatisfy { $0.hasPrefix("\(NATBench.router):") } == true)
                #expect(report.hub?.isReachable == true)
                #expect(report.relays.count == 1)
                #expect(report.relays.first?.udp.first?.isReachable == true)
                #expect(report.relays.first?.udp.first?.rttMs ?? 99 < 20)
                #expect(report.relays.first?.tls?.isReachable == true)
                #expect(report.captivePortal == nil)
                #expect(report.interceptingProxy == nil)
                #expect(report.problems.isEmpty == (kind.mapping == .endpointIndependent))
                #expect(report.seconds < 5)
            }
        }

        @Test func `what the gateway maps ports with is told, with its address outside`() throws {
            try withCheckedNetwork { bench, hub in
                try bench.become(NATBench.kinds[3])
                let process = try MappingPeer.pcp.start(bench)
                defer { process.stop() }
                let (report, page) = try Self.check(bench, "--hub", BenchHub.control, "--pin", hub.pin)
                #expect(report.portMapping.map(\.name) == ["PCP", "NAT-PMP", "UPnP IGD"])
                #expect(report.portMapping.map(\.state) == ["found", "found", "absent"])
                #expect(report.portMapping[1].external == NATBench.router)
                #expect(report.problems == [])
                #expect(page.contains("address and port-dependent"))
                #expect(page.contains("NAT-PMP found (\(NATBench.router))"))
            }
        }

        @Test func `UDP that is blocked is told, and that relays are reached over TLS`() throws {
            try withCheckedNetwork { bench, hub in
                try bench.become(NATBench.kinds[0])
                try Self.block(bench, "meta l4proto udp drop")
                let (report, _) = try Self.check(bench, "--hub", BenchHub.control, "--pin", hub.pin)
                #expect(report.ipv4?.udp == false)
                #expect(report.relays.first?.udp.first?.state == "timeout")
                #expect(report.relays.first?.tls?.isReachable == true)
                #expect(report.problems.first?.hasPrefix("UDP is blocked") == true)
                #expect(report.seconds < 5)
            }
        }

        @Test func `behind a proxy alone hub and relay are reached through it, with its credentials`() throws {
            try withCheckedNetwork { bench, hub in
                try bench.become(NATBench.kinds[0])
                try Self.block(bench, "drop")
                let process = try Self.start(
                    bench, "proxy", "--listen", "\(NATBench.gateway):3128", "--credentials", "agent:s3cret")
                defer { process.stop() }
                let options = ["--hub", BenchHub.control, "--pin", hub.pin, "--proxy"]
                let (report, page) = try Self.check(
                    bench, options: options + ["http://agent:s3cret@\(NATBench.gateway):3128"])
                #expect(report.hub?.isReachable == true)
                #expect(report.hub?.detail == "through the proxy")
                #expect(report.relays.first?.tls?.state == "timeout")
                #expect(report.relays.first?.proxy?.isReachable == true)
                #expect(report.proxy == "\(NATBench.gateway):3128")
                #expect(!page.contains("s3cret"))
                #expect(report.seconds < 5)
                let (wrong, _) = try Self.check(bench, options: options + ["http://agent:no@\(NATBench.gateway):3128"])
                #expect(wrong.hub?.isReachable == false)
                #expect(wrong.problems.contains { $0.hasPrefix("hub") })
                let relay = try Self.check(
                    bench, options: options + ["http://\(NATBench.gateway):3129"]
                ).report
                #expect(relay.hub?.state == "proxy-unreachable" || relay.hub?.state == "timeout")
            }
        }

        @Test(arguments: [[], ["--page"]] as [[String]])
        func `a captive portal is named within five seconds`(options: [String]) throws {
            try withCheckedNetwork { bench, hub in
                try bench.become(NATBench.kinds[0])
                let process = try Self.start(
                    bench, options: ["portal", "--listen", "\(NATBench.gateway):8080"] + options)
                defer { process.stop() }
                // All of HTTP goes to the portal, all else nowhere.
                try Self.divert(bench, "tcp dport 80", to: 8080)
                try Self.block(bench, "drop")
                let (report, page) = try Self.check(bench, "--hub", BenchHub.control, "--pin", hub.pin)
                figure("captive portal", "\(report.captivePortal ?? "-") after \(report.seconds) s")
                #expect(report.captivePortal?.isEmpty == false)
                #expect(options.isEmpty ? report.captivePortal == "http://login.test/" : true)
                #expect(report.problems.first?.hasPrefix("captive portal") == true)
                #expect(page.contains("captive portal"))
                #expect(report.seconds < 5)
            }
        }

        @Test func `a portal that takes the TLS port too is named`() throws {
            try withCheckedNetwork { bench, hub in
                try bench.become(NATBench.kinds[0])
                let process = try Self.start(bench, "portal", "--listen", "\(NATBench.gateway):8080")
                defer { process.stop() }
                try Self.divert(bench, "meta l4proto tcp", to: 8080)
                try Self.block(bench, "drop")
                let (report, _) = try Self.check(bench, "--hub", BenchHub.control, "--pin", hub.pin)
                #expect(report.captivePortal == "http://login.test/")
                #expect(report.hub?.state == "not-tls")
                #expect(report.seconds < 5)
            }
        }

        @Test func `an intercepting proxy is named by its certificate within five seconds, and trusted with nothing`()
            throws
        {
            try withCheckedNetwork { bench, hub in
                try bench.become(NATBench.kinds[0])
                let (certificate, key) = (bench.sandbox.path("cert.pem"), bench.sandbox.path("key.pem"))
                try bench.nat.run(
                    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/O=Example/CN=Example Inspection CA", "-days", "2", "-keyout", key, "-out", certificate)
                let process = try Self.start(
                    bench, "intercept", "--listen", "\(NATBench.gateway):8443", "--certificate", certificate, "--key",
                    key,
                    "--to", BenchHub.control)
                defer { process.stop() }
                try Self.divert(bench, "tcp dport 7443", to: 8443)
                let (report, page) = try Self.check(bench, "--hub", BenchHub.control, "--pin", hub.pin)
                figure("intercepting proxy", "\(report.interceptingProxy ?? "-") after \(report.seconds) s")
                #expect(report.interceptingProxy == "Example Inspection CA")
                #expect(report.hub?.state == "intercepted")
                #expect(report.relays == [])
                #expect(report.problems.first?.hasPrefix("intercepting proxy") == true)
                #expect(page.contains("an intercepting proxy presents another certificate"))
                #expect(report.captivePortal == nil)
                #expect(report.seconds < 5)
            }
        }

        @Test func `a hub that is down refuses, and one behind a wall gives no answer`() throws {
            try withNATBench { bench in
                try bench.become(NATBench.kinds[0])
                let hub = try BenchHub(bench)
                let refused = try Self.check(bench, "--hub", BenchHub.control, "--pin", hub.pin).report
                #expect(refused.hub?.state == "refused")
                try Self.block(bench, "drop")
                let options = ["--hub", BenchHub.control, "--pin", hub.pin, "--relay", BenchHub.relay]
                let (report, _) = try Self.check(bench, options: options)
                #expect(report.hub?.state == "timeout")
                #expect(report.relays.first?.udp.first?.state == "timeout")
                #expect(report.seconds < 5)
            }
        }

        // MARK: Support

        /// The program's report as JSON and as a page, run as a user without any privilege.
        private static func check(_ bench: NATBench, _ options: String...) throws -> (
            report: NetcheckReport, page: String
        ) {
            try check(bench, options: options)
        }

        private static func check(
            _ bench: NATBench, options: [String]
        ) throws -> (report: NetcheckReport, page: String) {
            let programs = try Programs.folder()
            let words = Plan.unprivileged(uid: Plan.sidecarUID) + ["\(programs)/warren", "netcheck"] + options
            let environment = Image.environment(folder: programs)
            let json = try bench.host.result(of: words + ["--json"], environment: environment)
            guard json.succeeded else { throw LabError.command(words, status: json.status, text: json.text) }
            let report = try JSONDecoder().decode(NetcheckReport.self, from: Data(json.standardOutput.utf8))
            #expect(json.seconds < 5.5)
            return (report, try bench.host.result(of: words, environment: environment).standardOutput)
        }

        private static func start(_ bench: NATBench, _ options: String...) throws -> ChildProcess {
            try start(bench, options: options)
        }

        private static func start(_ bench: NATBench, options: [String]) throws -> ChildProcess {
            let process = try bench.nat.spawn(["python3", "\(Responders.folder)/middlebox.py"] + options)
            try waitUntil("middlebox ready", timeout: 10) {
                guard process.isRunning else { throw LabError.ended("middlebox", text: process.standardError) }
                return process.standardOutput.contains("ready")
            }
            return process
        }

        /// What the host sends and `rule` fits is not forwarded.
        private static func block(_ bench: NATBench, _ rule: String) throws {
            try bench.nat.run(
                "nft", "-f", "-",
                input: """
                    table ip wall {
                        chain forward {
                            type filter hook forward priority -10; policy accept;
                            iifname "lan" \(rule)
                        }
                    }

                    """)
        }

        /// What the host sends and `match` fits goes to a port of the router itself.
        private static func divert(_ bench: NATBench, _ match: String, to port: Int) throws {
            try bench.nat.run(
                "nft", "-f", "-",
                input: """
                    table ip divert {
                        chain prerouting {
                            type nat hook prerouting priority -110; policy accept;
                            iifname "lan" \(match) dnat to \(NATBench.gateway):\(port)
                        }
                    }

                    """)
        }

        private func withCheckedNetwork(_ body: (NATBench, BenchHub) throws -> Void) throws {
            try withNATBench { bench in
                let hub = try BenchHub(bench)
                let process = try hub.start(bench)
                defer { process.stop() }
                let health = ["curl", "-ksf", "--max-time", "2", "https://\(BenchHub.control)/healthz"]
                try waitUntil("hub healthy", timeout: 15, every: 0.05) {
                    guard process.isRunning else { throw LabError.ended("the hub", text: process.standardError) }
                    return try bench.outside.result(of: health).succeeded
                }
                try body(bench, hub)
            }
        }
    }
}
