package import Control
import Glibc

/// Two pods behind two NATs that can be exchanged, with the programs that are shipped: hub, plugin and sidecars.
///
/// The pods join once. Each trial then begins with both sidecars killed and started again, and with every router's
/// bindings forgotten: nobody knows anybody, and no binding is open. Not safe for concurrent use.
package final class PairLab {
    package struct Settings: Codable, Sendable {
        /// How long a trial waits for a direct path, in seconds.
        package var patience = 6.0
        /// Between the sidecars' being ready and the first packet: agents that meet have been up for a while.
        package var settling = 0.4
        /// How long a sidecar may take to reach the hub.
        package var readiness = 8.0
        /// How long the first answer may take.
        package var reply = 8.0
        /// Two relays that run apart, and a third site to roam to: for failures.
        package var isForFailures = false

        package init() {}
    }

    package let mesh: Mesh
    package let networks: [SiteNetwork]
    package var settings: Settings
    /// Where a pod may roam to; only in a lab for failures.
    let elsewhere: SiteNetwork?
    package private(set) var pods: [Pod] = []
    private let stun: STUNService

    /// Builds the network and joins both pods, each behind a port-restricted NAT.
    package init(in sandbox: Sandbox, programs: String, _ settings: Settings = Settings()) throws {
        self.settings = settings
        let sites = settings.isForFailures ? Plan.sites + [Plan.siteC] : Plan.sites
        let underlay = try Underlay(in: sandbox, sites: sites, distance: .far)
        // Where only port 443 is let through, the hub is there too.
        try underlay.hub.run("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
        mesh = try Mesh(
            in: sandbox, programs: programs, underlay: underlay, hubControl: "\(Plan.hub):443", hasNodePorts: true)
        stun = try STUNService(in: underlay)
        networks = try Plan.sites.map { try SiteNetwork(underlay, $0, programs: programs) }
        elsewhere = settings.isForFailures ? try SiteNetwork(underlay, Plan.siteC, programs: programs) : nil
        let home = try NATClass.named("port-restricted")
        for network in networks + [elsewhere].compactMap(\.self) { try network.install(home) }
        try underlay.countTraffic()
        if settings.isForFailures {
            try mesh.startHubWithRelays(stunServers: Self.stunServers)
        } else {
            try mesh.startHub(stunServers: Self.stunServers)
        }
        let pair = try mesh.startPods()
        pods = [pair.a, pair.b]
        for (network, pod) in zip(networks, pods) {
            network.pods = [2: pod.namespace]
            let (runtime, node) = (mesh.runtime, Mesh.node(of: network.site))
            network.mapNodePorts = { try runtime.collectGarbage(keeping: pod, node: node) }
            // The plugin has mapped ports of this router: it is one again that has none.
            try network.install(home)
        }
        awaitForgottenFlows()
    }

    /// The plugin lets conntrack forget what a node's port was before, half a second after it has answered: a binding that
    /// is made until then may be among it.
    private func awaitForgottenFlows() { usleep(1_500_000) }

    /// Two addresses, one of them with two ports: enough to tell every kind of mapping apart.
    static let stunServers = [
        "\(Plan.servers[0]):\(Plan.stunPorts[0])", "\(Plan.servers[0]):\(Plan.stunPorts[1])",
        "\(Plan.servers[1]):\(Plan.stunPorts[0])",
    ]

    /// Puts the pods behind these two NATs; their sidecars run again with the next trial.
    package func install(_ a: NATClass, _ b: NATClass) throws {
        try stopSidecars()
        for (network, nat) in zip(networks, [a, b]) where network.current != nat { try network.install(nat) }
        if [a, b].contains(where: { $0.id == "node-mapped" }) { awaitForgottenFlows() }
    }

    /// One meeting; `caller` is the index of the pod that speaks first.
    ///
    /// - Parameter waitsForDirect: false to be content with any path.
    package func trial(caller: Int, waitsForDirect: Bool = true) throws -> Trial {
        var trial = Trial(outcome: .notReady, caller: networks[caller].site.letter)
        let start = try restart()
        trial.note = waitLinked(since: start)
        guard trial.note == nil else { return trial }
        trial.ready = (Clock.now - start) * 1000
        let home = status(of: pods[0])?.relays.first { $0.role == "home" }
        (trial.transport, trial.relayUp) = (home?.transport, home?.upAfterMs)
        usleep(UInt32(settings.settling * 1e6))
        try mesh.underlay.resetTraffic()

        let (here, there) = (pods[caller], pods[1 - caller])
        let (address, peerAddress) = (try mesh.virtualIPv6(of: here), try mesh.virtualIPv6(of: there))
        let exchange = try Exchange(from: here, address, to: there, peerAddress)
        // WireGuard repeats a lost handshake message after five seconds: where many are lost that takes several.
        let isLossy = networks.contains { $0.current?.id == "lossy" }
        exchange.run(until: Clock.now + settings.reply * (isLossy ? 3 : 1), every: 0.02) { exchange.firstReply != nil }
        guard let began = exchange.began else { throw LabError.unexpected("nothing was sent") }
        trial.firstByte = exchange.firstByte.map { ($0 - began) * 1000 }
        trial.firstReply = exchange.firstReply.map { ($0 - began) * 1000 }
        guard exchange.firstReply != nil else {
            trial.outcome = .none
            trial.note = describe(here, peerAddress)
            return trial
        }
        trial.outcome = .relay
        let deadline = began + (waitsForDirect ? settings.patience : 0)
        repeat {
            let ends = [peer(of: here, at: peerAddress), peer(of: there, at: address)]
            let direct = ends.count { $0?.path == "direct" }
            trial.outcome = direct == 2 ? .direct : direct == 1 ? .halfDirect : .relay
            if direct == 2 {
                trial.bothDirect = (Clock.now - began) * 1000
                trial.direct = ends[0]?.directAfterMs
                break
            }
            exchange.run(until: Clock.now + 0.025, every: 0.05)
        } while Clock.now < deadline
        if waitsForDirect, trial.outcome != .direct {
            trial.note = pods.compactMap { status(of: $0)?.nat }.joined(separator: " | ")
        }
        trial.datagrams = try mesh.underlay.count(of: .direct)
        if trial.outcome == .direct { trial.lost = check(exchange) }
        return trial
    }

    /// Ten more datagrams on the path as it is now; how many were not answered.
    private func check(_ exchange: Exchange) -> Int {
        let first = exchange.sent + 1
        exchange.run(until: Clock.now + 0.1, every: 0.01)
        let last = exchange.sent
        exchange.run(until: Clock.now + 0.3, every: 1) { (first...last).allSatisfy(exchange.answered.contains) }
        return (first...last).count { !exchange.answered.contains($0) }
    }

    /// Both sidecars anew, and no binding left anywhere. Returns when the first of them was started.
    @discardableResult
    package func restart() throws -> Double {
        try stopSidecars()
        for network in networks { try network.forget() }
        let start = Clock.now
        for (pod, network) in zip(pods, networks) {
            try mesh.startSidecar(pod, environment: network.sidecarEnvironment)
        }
        return start
    }

    private func stopSidecars() throws {
        for pod in pods {
            guard let process = mesh.sidecars[pod.name], process.isRunning else { continue }
            process.signal(SIGKILL)
            _ = try process.wait(timeout: 5)
            removeFile(process.outputPath)
            removeFile(process.errorPath)
        }
        // Before their bindings are forgotten the hub hears that their connections have ended.
        usleep(20_000)
    }

    /// Waits until both sidecars have the hub, and for a moment longer for a relay: there may be a way without one.
    ///
    /// - Returns: why a sidecar does not reach the hub; nil when both do.
    func waitLinked(since start: Double) -> String? {
        for pod in pods {
            let deadline = start + settings.readiness
            while status(of: pod)?.ready != true {
                if Clock.now > deadline {
                    guard let status = status(of: pod) else { return "\(pod.name): no answer from the sidecar" }
                    return "\(pod.name): hub \(status.hub)\(status.hubDetail.isEmpty ? "" : ", \(status.hubDetail)")"
                }
                usleep(10_000)
            }
            let relayDeadline = Clock.now + 2
            while status(of: pod)?.relayUp != true, Clock.now < relayDeadline { usleep(10_000) }
        }
        return nil
    }

    package func status(of pod: Pod) -> StatusReport? {
        try? pod.ask(.status).status
    }

    /// What the pod's sidecar says of the peer at a virtual address.
    package func peer(of pod: Pod, at address: String) -> PeerReport? {
        (try? pod.ask(.peers).peers)?
            .first { $0.addresses.contains { $0 == address || $0.hasPrefix("\(address)/") } }
    }

    private func describe(_ pod: Pod, _ address: String) -> String {
        let relay = status(of: pod).map { $0.relayUp ? "relay up" : "no relay" } ?? "no status"
        return "no answer; \(relay); path \(peer(of: pod, at: address)?.path ?? "unknown")"
    }

    /// The hub is not asked to end in order: where NATs forgot their bindings it has half-open connections to wait for.
    @discardableResult
    package func tearDown() -> [String] {
        stun.stop()
        for process in [mesh.hub].compactMap(\.self) + Array(mesh.relays.values) {
            process.signal(SIGKILL)
            _ = try? process.wait(timeout: 5)
        }
        return mesh.tearDown()
    }
}
