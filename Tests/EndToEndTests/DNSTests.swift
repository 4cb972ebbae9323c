import Control
import Foundation
import Lab
import Testing

extension EndToEnd {
    /// Names: those of the mesh by the sidecar, all others by a name server where the hub is, as a cluster's would be.
    @Suite(.timeLimit(.minutes(4))) struct DNS {
        static let domain = "demo.warren.internal"
        static let resolver = "169.254.53.53"

        @Test func `these tests have their tools`() {
            #expect(Requirements.missing([("dig", "bind9-dnsutils"), ("dnsmasq", "dnsmasq-base")]) == [])
        }

        /// The cluster's name server: one service, and a name with an answer too large for a datagram.
        static func startServer(_ mesh: Mesh) throws -> ChildProcess {
            var words = [
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                "--pid-file=", "--bind-interfaces", "--listen-address=\(Plan.hub)", "--except-interface=lo",
                "--local=/local/", "--local=/example/", "--local=/internal/",
                "--host-record=api.default.svc.cluster.local,192.0.2.53", "--host-record=www.example,192.0.2.80",
            ]
            for index in 0..<12 {
                words.append("--txt-record=large.example,\(index)\(String(repeating: "x", count: 240))")
            }
            let process = try mesh.underlay.hub.spawn(words)
            try waitUntil("name server", timeout: 5) {
                guard process.isRunning else { throw LabError.ended("dnsmasq", text: process.standardError) }
                return try mesh.underlay.hub.result(
                    of: ["dig", "+short", "+time=1", "+tries=1", "@\(Plan.hub)", "www.example"]
                ).standardOutput == "192.0.2.80\n"
            }
            return process
        }

        /// As the injector writes it.
        static func configure(_ pod: Pod) throws {
            try pod.setResolvConf(
                """
                nameserver \(resolver)
                search default.svc.cluster.local svc.cluster.local cluster.local default.\(domain) \(domain)
                options ndots:5 timeout:2 attempts:2
                """)
        }

        static func start(_ mesh: Mesh, _ pod: Pod) throws {
            try configure(pod)
            let name = "\(pod.name).default"
            try mesh.startSidecar(
                pod, token: try mesh.token("--name", name, "--group", "web.default"), name: name,
                options: ["--dns-upstream", Plan.hub, "--service", "http/tcp/8080", "--service", "dns/udp/53"])
        }

        static func withNames(_ body: (Mesh, Pod, Pod, ChildProcess) throws -> Void) throws {
            try withMesh { mesh in
                try mesh.startHub()
                let server = try startServer(mesh)
                defer { server.stop() }
                let (a, b) = (
                    try mesh.addPod("pod-a", site: Plan.siteA), try mesh.addPod("pod-b", site: Plan.siteB)
                )
                for pod in [a, b] { try start(mesh, pod) }
                for pod in [a, b] { try mesh.waitReady(pod) }
                try body(mesh, a, b, server)
            }
        }

        /// dig's answer in `pod`: the status, and the answer section's data.
        static func dig(_ pod: Pod, _ words: String...) throws -> (status: String, data: [String], text: String) {
            let output = try pod.result(of: ["dig", "+tries=1", "+time=5", "@\(resolver)"] + words)
            let text = output.standardOutput
            let status = text.components(separatedBy: "status: ").dropFirst().first.map { $0.prefix { $0 != "," } }
            let lines = text.split(separator: "\n").filter { !$0.hasPrefix(";") }
            let data = lines.compactMap { line in
                let fields = line.split(whereSeparator: \.isWhitespace)
                return fields.count > 4 ? fields[4...].joined(separator: " ") : nil
            }
            return (status.map(String.init) ?? "none", data, text)
        }

        @Test func `a pod finds another by name, and HTTP goes to that name`() throws {
            try Self.withNames { mesh, a, b, _ in
                let (six, four) = (try mesh.virtualIPv6(of: b), try mesh.virtualIPv4(of: b))
                for name in ["pod-b", "pod-b.default", "pod-b.default.\(Self.domain)"] {
                    let found = try a.run("getent", "ahosts", name)
                    #expect(found.contains("\(six) ") && found.contains("\(four) "), "\(name): \(found)")
                }
                let fetched = try Traffic.http(from: a, to: b, host: "pod-b.default", listen: "::", bytes: 300_000)
                #expect(fetched.address == six || fetched.address == four)
                let back = try Self.dig(a, "-x", six)
                #expect(back.data == ["pod-b.default.\(Self.domain)."])
                #expect(try Self.dig(a, "-x", four).data == back.data)
                #expect(try Self.dig(a, "aaaa", "PoD-b.DEFAULT.\(Self.domain)").data == [six])
                let members = try Self.dig(a, "aaaa", "web.default.group.\(Self.domain)").data
                #expect(Set(members) == [six, try mesh.virtualIPv6(of: a)])
                // Where a service is: of one agent, of a group, of the pod itself; and none where nobody has said so.
                let target = "pod-b.default.\(Self.domain)"
                let service = try Self.dig(a, "srv", "_http._tcp.\(target)")
                #expect(service.data.first == "0 0 8080 \(target).")
                #expect(service.text.contains(six) && service.text.contains(four))
                #expect(
                    try Self.dig(a, "srv", "_dns._udp.pod-a.default.\(Self.domain)").data.first?.hasPrefix("0 0 53 ")
                        == true)
                let group = try Self.dig(a, "srv", "_http._tcp.web.default.group.\(Self.domain)")
                #expect(group.data.count { $0.hasPrefix("0 0 8080 ") } == 2)
                #expect(try Self.dig(a, "srv", "_https._tcp.\(target)").status == "NXDOMAIN")
                let nobody = try Self.dig(a, "nobody.default.\(Self.domain)")
                #expect(nobody.status == "NXDOMAIN")
                #expect(nobody.text.contains("SOA"))
                // The resolver's other address, and TCP.
                let prefix = Plan.meshPrefix.components(separatedBy: "/")[0]
                #expect(
                    try Self.dig(a, "@\(prefix)53", "+tcp", "a", "pod-b.default.\(Self.domain)").data.contains(four))
                let status = try #require(try mesh.status(of: a).dns)
                #expect(status.domain == Self.domain)
                #expect(status.resolvers.contains("\(Self.resolver):53"))
                #expect(status.upstreams == ["\(Plan.hub):53"])
                #expect(status.queries["mesh", default: 0] > 5)
                #expect(try mesh.warren("status", in: a).standardOutput.contains("\(Self.domain) at "))
            }
        }

        @Test func `all other names are the cluster's, large answers too, and its outage is told at once`() throws {
            try Self.withNames { mesh, a, b, server in
                #expect(try a.run("getent", "ahosts", "api").contains("192.0.2.53 "))
                #expect(try Self.dig(a, "www.example").data == ["192.0.2.80"])
                #expect(try Self.dig(a, "none.example").status == "NXDOMAIN")
                let large = try Self.dig(a, "txt", "large.example", "+bufsize=1232")
                #expect(large.text.contains("Truncated, retrying in TCP"))
                #expect(large.data.count == 12)

                server.stop()
                _ = try Self.dig(a, "www.example")
                let start = Clock.now
                #expect(try Self.dig(a, "www.example").status == "SERVFAIL")
                #expect(Clock.now - start < 1)
                #expect(try Self.dig(a, "aaaa", "pod-b.default.\(Self.domain)").data.count == 1)
                let again = try Self.startServer(mesh)
                defer { again.stop() }
                try waitUntil("answers after the outage", timeout: 5) {
                    try Self.dig(a, "www.example").data == ["192.0.2.80"]
                }
            }
        }

        @Test func `with the hub down, cluster names answer and known names of the mesh do`() throws {
            try Self.withNames { mesh, a, b, _ in
                let name = "pod-b.default.\(Self.domain)"
                let six = try mesh.virtualIPv6(of: b)
                #expect(try Self.dig(a, "aaaa", name).data == [six])
                try mesh.stopHub()
                try waitUntil("the hub is missed", timeout: 10) { try mesh.status(of: a).hub == "unreachable" }
                #expect(try Self.dig(a, "aaaa", name).data == [six])
                #expect(try Self.dig(a, "www.example").data == ["192.0.2.80"])
                #expect(try Self.dig(a, "never-asked.default.\(Self.domain)").status == "SERVFAIL")
                #expect(try a.run("getent", "ahosts", "www.example").contains("192.0.2.80 "))
                // An agent that has yet to join: the cluster's names are there already, the mesh's are not.
                let c = try mesh.addPod("pod-c", site: Plan.siteA)
                try Self.configure(c)
                try mesh.startSidecar(
                    c, token: try mesh.token("--name", "pod-c.default"), name: "pod-c.default",
                    options: ["--dns-upstream", Plan.hub])
                try waitUntil("the resolver of pod-c", timeout: 5) {
                    try Self.dig(c, "+time=1", "www.example").data == ["192.0.2.80"]
                }
                #expect(try c.run("getent", "ahosts", "api").contains("192.0.2.53 "))
                #expect(try Self.dig(c, name).status == "SERVFAIL")
                try mesh.startHub()
                try mesh.waitReady(c, timeout: 30)
                // Once the other has published its record anew.
                try waitUntil("the mesh's names in pod-c", timeout: 20) {
                    try Self.dig(c, "aaaa", name).data == [six]
                }
            }
        }

        @Test func `nothing but the pod's own programs reaches its resolver`() throws {
            try Self.withNames { mesh, a, b, _ in
                // By the node's network: a packet for the resolver's address that comes in by eth0.
                let gateway = mesh.underlay
                let router = try gateway.router(of: Plan.siteA)
                try router.run("ip", "route", "add", "\(Self.resolver)/32", "via", a.address)
                try a.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
                let outside = try router.result(
                    of: ["dig", "+tries=1", "+time=1", "@\(Self.resolver)", "www.example"])
                #expect(!outside.succeeded)
                // And it serves on no other address.
                let other = try a.result(of: ["dig", "+tries=1", "+time=1", "@\(a.address)", "www.example"])
                #expect(!other.succeeded)
            }
        }
    }
}
