import Foundation
import Glibc
import Lab
import TestSupport
import Testing

extension EndToEnd {
    /// What each process tells Prometheus, read strictly.
    @Suite struct Metrics {
        private static let port = 19586
        private static let options = ["--metrics-listen", "[::]:\(port)", "--metrics-peers", "8"]
        private static let rules = "manifests/overlays/monitoring/rules.yaml"
        private static let dashboard = "manifests/overlays/monitoring/dashboard.json"

        private func get(_ path: String, _ port: Int = port, in place: any Place) throws -> String {
            try place.result(of: ["curl", "-s", "--max-time", "5", "http://127.0.0.1:\(port)\(path)"]).standardOutput
        }

        private func scrape(_ port: Int = port, in place: any Place) throws -> ExpositionText {
            try ExpositionText(try get("/metrics", port, in: place))
        }

        private func withScrapedPair(_ body: (Mesh, Pod, Pod) throws -> Void) throws {
            try withMesh { mesh in
                try mesh.startHub(options: ["--metrics-listen", "127.0.0.1:9090"])
                let (a, b) = (try mesh.addPod("pod-a", site: Plan.siteA), try mesh.addPod("pod-b", site: Plan.siteB))
                for pod in [a, b] {
                    try mesh.startSidecar(pod, token: try mesh.token("--name", pod.name), options: Self.options)
                }
                for pod in [a, b] { try mesh.waitReady(pod) }
                try body(mesh, a, b)
            }
        }

        @Test func `a sidecar counts what went, tells its paths, and answers its pod and no peer`() throws {
            try withScrapedPair { mesh, a, b in
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                let before = try scrape(in: a)
                #expect(try a.ping(address, count: 50, interval: 0.01).lost == 0)
                let after = try scrape(in: a)
                for direction in ["in", "out"] {
                    let packets = ["direction": direction]
                    let moved =
                        (after.value("warren_packets_total", packets) ?? 0)
                        - (before.value("warren_packets_total", packets) ?? 0)
                    #expect((50...60).contains(moved))
                    let bytes =
                        (after.value("warren_bytes_total", packets) ?? 0)
                        - (before.value("warren_bytes_total", packets) ?? 0)
                    // 56 bytes of data, ICMP's 8 and IPv6's 40.
                    #expect(bytes >= 50 * 104)
                }
                #expect(after.value("warren_ready") == 1 && after.value("warren_hub_connected") == 1)
                #expect(after.value("warren_peers", ["path": "direct"]) == 1)
                #expect(after.value("warren_peer_path", ["peer": "pod-b", "path": "direct"]) == 1)
                #expect(after.value("warren_peer_transmit_bytes_total", ["peer": "pod-b"]) ?? 0 > 50 * 104)
                #expect(after.value("warren_handshakes_total") ?? 0 >= 1)
                #expect(after.value("warren_peer_handshake_age", ["age": "up to 120 s"]) == 1)
                #expect(after.value("warren_round_trip_seconds_count") ?? 0 >= 1)
                let probes = ["sent", "answered", "lost"].map { after.value("warren_probes_\($0)_total") ?? -1 }
                #expect(probes[1] + probes[2] <= probes[0])
                #expect(after.value("warren_relays", ["state": "up"]) == 1)
                #expect(after.total("warren_nat") == 1)
                // By the mesh nobody gets an answer, by the pod's own network everybody does.
                let own = try mesh.virtualIPv6(of: a)
                let peer = try b.result(of: ["curl", "-s", "--max-time", "5", "http://[\(own)]:\(Self.port)/metrics"])
                #expect(!peer.succeeded && peer.standardOutput == "")
                #expect(try get("/readyz", in: a) == "ready\n")
                #expect(try get("/livez", in: a) == "alive\n")
            }
        }

        @Test func `rules and dashboard name only what a process tells, and promtool accepts the rules`() throws {
            try withScrapedPair { mesh, a, b in
                _ = try a.ping(try mesh.virtualIPv6(of: b), count: 3)
                var names = try scrape(in: a).seriesNames
                let hub = try scrape(9090, in: mesh.underlay.hub)
                #expect(hub.value("warren_hub_requests_total", ["request": "join", "result": "ok"]) == 2)
                #expect(hub.value("warren_relay_agents") == 2)
                #expect(hub.value("warren_hub_publications_total", ["result": "stored"]) ?? 0 >= 2)
                #expect(hub.value("warren_hub_store_seconds_count", ["operation": "write"]) ?? 0 >= 2)
                let end = hub.value("warren_hub_tls_certificate_expiry_timestamp_seconds") ?? 0
                #expect(end > Date().timeIntervalSince1970 + 86400)
                names.formUnion(hub.seriesNames)
                names.formUnion(try injector(mesh).seriesNames)
                names.formUnion(try nodeAgent(mesh).seriesNames)
                let rules = Repository.text(Self.rules)
                for name in used(rules) + used(Repository.text(Self.dashboard)) {
                    #expect(names.contains(name), "\(name) is told by no process")
                }
                #expect(used(rules).count >= 28 && used(Repository.text(Self.dashboard)).count >= 40)
                try checkRules(mesh.sandbox)
            }
        }

        /// An injector in a cluster whose API server does not answer: the controller is there, and leads nothing.
        private func injector(_ mesh: Mesh) throws -> ExpositionText {
            let script = """
                mount --make-rprivate /; mount -t tmpfs tmpfs /run
                folder=/run/secrets/kubernetes.io/serviceaccount; mkdir -p $folder
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x \\
                    -keyout /run/key -out $folder/ca.crt 2>/dev/null
                echo token > $folder/token; echo warren-system > $folder/namespace
                exec "$0" --listen 127.0.0.1:18443 --health-port 18080 --drain 0
                """
            let program = "\(try Programs.folder())/warren-injector"
            let process = try mesh.sandbox.spawn(
                mesh.underlay.hub.enter + ["unshare", "--mount", "sh", "-euc", script, program],
                environment: ["KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"])
            defer { process.stop() }
            try waitUntil("injector", timeout: 15) {
                guard process.isRunning else { throw LabError.ended("the injector", text: process.standardError) }
                return try get("/healthz", 18080, in: mesh.underlay.hub) == "ok\n"
            }
            let page = try scrape(18080, in: mesh.underlay.hub)
            #expect(page.value("warren_controller_leader") == 0)
            #expect(page.value("warren_injector_reviews_total", ["outcome": "injected"]) == 0)
            return page
        }

        private func nodeAgent(_ mesh: Mesh) throws -> ExpositionText {
            let folder = mesh.sandbox.path("node")
            for name in ["", "/bin", "/net.d"] { try makeFolder(folder + name) }
            try writeText(
                #"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"ptp"}]}"#, to: "\(folder)/net.d/10-x.conflist")
            let process = try mesh.sandbox.spawn(
                mesh.underlay.hub.enter + [
                    "\(try Programs.folder())/warren-node", "run", "--mesh", Plan.meshPrefix, "--node", "1",
                    "--ipv4-block", Plan.meshIPv4, "--opt-in", "all", "--cni-bin-dir", "\(folder)/bin",
                    "--cni-conf-dir", "\(folder)/net.d", "--state-dir", "\(folder)/state", "--listen", "127.0.0.1:9809",
                ])
            defer { process.stop() }
            try waitUntil("node agent's addresses", timeout: 20, every: 0.2) {
                guard process.isRunning else { throw LabError.ended("warren-node", text: process.standardError) }
                let page = try? scrape(9809, in: mesh.underlay.hub)
                return page?.total("warren_node_addresses") ?? 0 > 0
            }
            let page = try scrape(9809, in: mesh.underlay.hub)
            #expect(page.total("warren_node_plugin_calls_total") >= 1)
            return page
        }

        /// The metrics that expressions name, not those that rules record.
        private func used(_ text: String) -> [String] {
            var names: Set<String> = []
            for word in text.split(whereSeparator: {
                !($0.isLetter || $0.isNumber || $0 == "_" || $0 == ":" || $0 == "-")
            }) {
                let isMetric = ["warren_", "process_"].contains { word.hasPrefix($0) }
                if isMetric, !word.contains(":"), !word.contains("-") { names.insert(String(word)) }
            }
            return names.sorted()
        }

        /// promtool reads the rules as Prometheus' own file has them: the object's `spec`.
        private func checkRules(_ sandbox: Sandbox) throws {
            let folder = sandbox.path("rules")
            try makeFolder(folder)
            let python =
                "import sys, yaml; yaml.safe_dump(yaml.safe_load(open(sys.argv[1]))['spec'], open(sys.argv[2], 'w'))"
            try sandbox.run(
                "python3", "-c", python, "\(Repository.folder)/\(Self.rules)", "\(folder)/rules.yaml")
            try writeText(
                Repository.text("Tests/EndToEndTests/Rules/rules-test.yaml"), to: "\(folder)/rules-test.yaml")
            for command in [["check", "rules", "rules.yaml"], ["test", "rules", "rules-test.yaml"]] {
                let check = try sandbox.result(of: ["env", "-C", folder, "promtool"] + command)
                #expect(check.succeeded && check.text.contains("SUCCESS"), "\(check.text)")
            }
        }
    }
}
