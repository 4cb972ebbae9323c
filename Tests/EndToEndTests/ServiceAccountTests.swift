import Addressing
import Control
import Directory
import Glibc
import Lab
import Membership
import NIOCore
import NIOPosix
import Sodium
import Testing

extension EndToEnd {
    /// Pods that join by their service accounts, as in a cluster: nobody gives them a secret.
    @Suite struct ServiceAccounts {
        private static let nodeAccount = "warren-system:warren-node"

        /// A hub, an API server, and two nodes that have leased their blocks: the sites of pods a and b.
        private func withCluster(_ body: (Mesh, APIServer) throws -> Void) throws {
            let sandbox = try Sandbox.unique()
            Interruption.cleanUp { sandbox.tearDown() }
            defer { sandbox.tearDown() }
            let mesh = try Mesh(in: sandbox, programs: try Programs.folder(), hasNodePorts: true)
            do {
                let cluster = try APIServer(in: mesh)
                try cluster.start()
                try mesh.startHub(for: cluster, nodeAccount: Self.nodeAccount)
                for site in Plan.sites {
                    let token = try cluster.addPod(
                        "warren-node-\(site.letter)", namespace: "warren-system", account: "warren-node",
                        node: "node-\(site.letter)")
                    let number = try Self.lease(token, mesh)
                    #expect(Int(number) == Mesh.node(of: site))
                }
                try body(mesh, cluster)
            } catch {
                printLogs(mesh)
                throw error
            }
            #expect(mesh.tearDown() == [])
        }

        /// As the node's agent does, through a bridge into the hub's namespace: this process is in none.
        private static func lease(_ token: String, _ mesh: Mesh) throws -> UInt16 {
            try Libsodium.initialize()
            let hub = try HubReference(try mesh.hubText())
            let port = UInt16.random(in: 20000...29999)
            let target = Plan.hubControl.split(separator: ":").joined(separator: "\\:")
            let bridge = try mesh.sandbox.spawn([
                "socat", "TCP-LISTEN:\(port),bind=127.0.0.1,reuseaddr,fork",
                "EXEC:ip netns exec \(mesh.underlay.hub.name) socat STDIO TCP\\:\(target)",
            ])
            defer { _ = bridge.stop() }
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            func attempt() throws -> UInt16 {
                let answer = loop.makePromise(of: UInt16.self)
                answer.completeWithTask {
                    guard let address = HubAddress(host: "127.0.0.1", port: port) else { return 0 }
                    let client = try AuthorityClient(
                        address: address, pin: hub.pin,
                        verifier: RecordVerifier(mesh: hub.mesh, authorityKey: hub.authorityKey))
                    let identity = Identity(try Ed25519.PrivateKey())
                    return try await client.lease(account: Array(token.utf8), identity: identity).block.number
                }
                return try answer.futureResult.wait()
            }
            for _ in 0..<50 {
                // Until the bridge listens.
                do { return try attempt() } catch DirectoryError.unreachable { usleep(100_000) }
            }
            return try attempt()
        }

        @Test(.timeLimit(.minutes(3)))
        func `two pods join by their tokens and reach each other, as who the cluster says they are`() throws {
            try withCluster { mesh, cluster in
                let a = try mesh.addPod("web-0", site: Plan.siteA)
                let b = try mesh.addPod("db-0", site: Plan.siteB)
                var tokens = [
                    try cluster.addPod("web-0", namespace: "shop", account: "web", node: "node-a"),
                    // An older cluster, whose review has no node.
                    try cluster.addPod("db-0", namespace: "store", account: "db", node: "node-b", isNamed: false),
                ]
                try mesh.startSidecar(a, account: tokens[0])
                try mesh.startSidecar(b, account: tokens[1])
                for pod in [a, b] { figure("\(pod.name) ready", "\(fixed(try mesh.waitReady(pod), 2)) s") }
                #expect(try mesh.status(of: a).name == "web-0.shop")
                #expect(try mesh.status(of: b).name == "db-0.store")
                for (from, to) in [(a, b), (b, a)] {
                    for address in [try mesh.virtualIPv6(of: to), try mesh.virtualIPv4(of: to)] {
                        #expect(try from.ping(address, count: 5, interval: 0.2).received >= 4)
                    }
                }

                // The API server is away: who has joined is not troubled, also when it starts again.
                cluster.stop()
                #expect(try a.ping(try mesh.virtualIPv6(of: b), count: 5, interval: 0.2).lost == 0)
                try mesh.killSidecar(a)
                try mesh.startSidecar(a, account: tokens[0])
                try mesh.waitReady(a)
                #expect(try a.ping(try mesh.virtualIPv6(of: b), count: 5, interval: 0.2).received >= 4)
                // Nobody new comes in, until it is back.
                let c = try mesh.addPod("web-1", site: Plan.siteA)
                tokens.append(try cluster.addPod("web-1", namespace: "shop", account: "web", node: "node-a"))
                let waiting = try mesh.startSidecar(c, account: tokens[2])
                try waitUntil("put off", timeout: 20) { waiting.standardError.contains("asks to come again in") }
                #expect(waiting.isRunning)
                try cluster.start()
                try mesh.waitReady(c, timeout: 40)

                // The kubelet makes the pod anew: its name goes with it, at once.
                try mesh.killSidecar(c)
                let d = try mesh.addPod("web-1-again", site: Plan.siteB)
                tokens.append(try cluster.addPod("web-1", namespace: "shop", account: "web", node: "node-b"))
                try mesh.startSidecar(d, account: tokens[3])
                try mesh.waitReady(d)
                #expect(try mesh.status(of: d).name == "web-1.shop")
                let late = try mesh.startSidecar(c, account: tokens[2])
                #expect(try late.wait(timeout: 20) == 1, "the old pod's token is void")
                #expect(late.standardError.contains("its pod is gone"))
                mesh.sidecars[c.name] = nil

                let logs = ([mesh.hub] + mesh.sidecars.values.map { Optional($0) }).compactMap { $0?.standardError }
                #expect(logs.count == 4)
                for token in tokens {
                    for part in token.split(separator: ".").dropFirst() {
                        for log in logs + [late.standardError] { #expect(!log.contains(part)) }
                    }
                }
                #expect(logs[0].contains("joined: web-0.shop"))
                #expect(!logs.contains { $0.contains("hub-account") })
            }
        }

        @Test(.timeLimit(.minutes(3)))
        func `forged, expired and others' tokens are refused, and so is an address of another node`() throws {
            try withCluster { mesh, cluster in
                let pod = try mesh.addPod("web-0", site: Plan.siteA)
                let elsewhere = try cluster.addPod("web-0", namespace: "shop", account: "web", node: "node-b")
                let cases = [
                    (APIServer.token(namespace: "shop", pod: "web-0"), "does not accept it"),
                    (APIServer.token(namespace: "shop", pod: "web-0", lifetime: -600), "it has expired"),
                    (
                        APIServer.token(
                            namespace: "shop", pod: "web-0", audience: "https://kubernetes.default.svc.cluster.local"),
                        "not for the audience warren"
                    ),
                    (elsewhere, "outside the block that is leased to node node-b"),
                ]
                for (token, why) in cases {
                    let process = try mesh.startSidecar(pod, account: token)
                    #expect(try process.wait(timeout: 20) == 1, "\(why)")
                    #expect(process.standardError.contains(why), "\(process.standardError)")
                    mesh.sidecars[pod.name] = nil
                }
                // The pod's own lets it in.
                let own = try cluster.addPod("web-0", namespace: "shop", account: "web", node: "node-a")
                try mesh.startSidecar(pod, account: own)
                try mesh.waitReady(pod)
            }
        }
    }
}
