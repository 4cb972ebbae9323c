package import Control
import Foundation
import Glibc

/// A whole mesh on one machine: the plan's network, a hub, pods attached by the CNI plugin, their sidecars.
///
/// Not safe for concurrent use. `tearDown` leaves the machine as it was; so does the sandbox when it goes.
package final class Mesh {
    package let sandbox: Sandbox
    package let underlay: Underlay
    package let image: Image
    package let runtime: ContainerRuntime
    package private(set) var pods: [String: Pod] = [:]
    package private(set) var attachments: [String: ContainerRuntime.Attachment] = [:]
    package var sidecars: [String: ChildProcess] = [:]
    package internal(set) var hub: ChildProcess?
    /// The hubs that run one role each, after `startHubs`.
    package internal(set) var roleHubs: [HubRole: ChildProcess] = [:]
    /// Those that are relays alone, by their index in the plan, after `startHubWithRelays`.
    package internal(set) var relays: [Int: ChildProcess] = [:]
    /// Where agents reach the hub by TLS: an address and port.
    package let hubControl: String
    /// The folder of the hub that makes tokens.
    var hubFolder: String
    private var hosts: [String: Int] = [:]

    /// - Parameters:
    ///   - underlay: by default a near one.
    ///   - hasNodePorts: whether each site's router is its pods' node, which gives them ports of its own.
    package init(
        in sandbox: Sandbox, programs: String, underlay: Underlay? = nil, hubControl: String = Plan.hubControl,
        hasNodePorts: Bool = false
    ) throws {
        self.sandbox = sandbox
        let underlay = try underlay ?? Underlay(in: sandbox)
        self.underlay = underlay
        var nodes: [String: Namespace] = [:]
        for site in hasNodePorts ? Plan.sites : [] { nodes[site.letter] = try underlay.router(of: site) }
        self.hubControl = hubControl
        image = try Image(from: programs, in: sandbox)
        runtime = ContainerRuntime(sandbox: sandbox, image: image, nodes: nodes)
        hubFolder = "\(sandbox.folder)/hub"
    }

    // MARK: - The hub

    /// Starts the hub as its own uid, on its first start with a new mesh; returns when it answers health.
    ///
    /// - Parameter stunServers: beside the relay, as `ADDRESS:PORT`.
    package func startHub(stunServers: [String] = [], options: [String] = []) throws {
        if !fileExists(hubFolder) { try makeHub(stunServers: stunServers) }
        hub = try serveHub(hubFolder, uid: Plan.hubUID, control: hubControl, options: options)
    }

    /// A new mesh.
    func makeHub(stunServers: [String]) throws {
        try makeFolder(hubFolder, mode: 0o700, owner: Plan.hubUID)
        let words = [
            "init", "--dir", hubFolder, "--mesh", Plan.meshName, "--prefix", Plan.meshPrefix, "--ipv4-range",
            Plan.meshIPv4, "--address", hubControl, "--relay", Plan.hubRelay,
        ]
        try hubCommand(words + stunServers.flatMap { ["--stun", $0] })
    }

    /// Starts `warren-hub serve` and returns it when it answers health at `control`, an address and port.
    func serveHub(
        _ folder: String, uid: UInt32, control: String, relayListen: String = Plan.hubRelay, options: [String] = [],
        environment: [String: String] = [:]
    ) throws -> ChildProcess {
        let words = [
            "\(image.folder)/warren-hub", "serve", "--dir", folder, "--listen",
            "0.0.0.0:\(control.split(separator: ":").last ?? "")", "--relay-listen", relayListen,
        ]
        let process = try underlay.hub.spawn(
            Plan.unprivileged(uid: uid) + words + options,
            environment: environment.merging(Image.environment(folder: image.folder)) { $1 })
        let health = ["curl", "-ksf", "--max-time", "2", "https://\(control)/healthz"]
        try waitUntil("hub healthy", timeout: 15, every: 0.03) {
            guard process.isRunning else { throw LabError.ended("the hub", text: process.standardError) }
            return try underlay.hub.result(of: health).succeeded
        }
        return process
    }

    /// Ends the hub: SIGTERM and a clean exit, or SIGKILL. Returns its status.
    @discardableResult
    package func stopHub(signal number: Int32 = SIGTERM) throws -> Int32 {
        guard let process = hub else { throw LabError.unexpected("no hub runs") }
        hub = nil
        process.signal(number)
        return try process.wait(timeout: 10)
    }

    /// A join token.
    package func token(_ options: String...) throws -> String {
        try hubCommand(["token", "create", "--dir", hubFolder] + options).trimmingCharacters(
            in: .whitespacesAndNewlines)
    }

    /// `warren-hub release NAME-or-ADDRESS`.
    package func release(_ subject: String) throws {
        try hubCommand("release", "--dir", hubFolder, subject)
    }

    @discardableResult
    private func hubCommand(_ words: String...) throws -> String { try hubCommand(words) }

    /// `warren-hub …` where the hub is.
    @discardableResult
    func hubCommand(_ words: [String], uid: UInt32 = Plan.hubUID) throws -> String {
        let command = Plan.unprivileged(uid: uid) + ["\(image.folder)/warren-hub"] + words
        let output = try underlay.hub.result(of: command, environment: Image.environment(folder: image.folder))
        guard output.succeeded else {
            throw LabError.command(["warren-hub"] + words, status: output.status, text: output.text)
        }
        return output.standardOutput
    }

    // MARK: - Pods

    /// A pod behind the site's router, attached by `warren-cni ADD`, without its sidecar yet.
    @discardableResult
    package func addPod(_ name: String, site: Plan.Site) throws -> Pod {
        let host = hosts[site.letter, default: 1] + 1
        hosts[site.letter] = host
        let pod = try Pod(name, site: site, host: host, image: image, underlay: underlay)
        pods[name] = pod
        attachments[name] = try runtime.add(pod, node: Self.node(of: site))
        return pod
    }

    /// Each site is another node of the mesh.
    package static func node(of site: Plan.Site) -> Int { Int(site.letter.utf8.first ?? 97) - 96 }

    package func attachment(of pod: Pod) throws -> ContainerRuntime.Attachment {
        guard let attachment = attachments[pod.name] else { throw LabError.unexpected("\(pod.name) is not attached") }
        return attachment
    }

    package func virtualIPv6(of pod: Pod) throws -> String { try attachment(of: pod).ipv6 }

    package func virtualIPv4(of pod: Pod) throws -> String {
        guard let address = try attachment(of: pod).ipv4 else { throw LabError.unexpected("\(pod.name) has no IPv4") }
        return address
    }

    /// The sidecar that runs in the pod.
    package func sidecar(of pod: Pod) throws -> ChildProcess {
        guard let process = sidecars[pod.name] else { throw LabError.unexpected("\(pod.name) has no sidecar") }
        return process
    }

    /// Starts the sidecar without any privilege, as a restricted pod's container runs it. Does not wait.
    @discardableResult
    package func startSidecar(
        _ pod: Pod, token: String? = nil, name: String? = nil, options: [String] = [],
        environment: [String: String] = [:]
    ) throws -> ChildProcess {
        if let token { try pod.setToken(token) }
        let words = [
            "\(Pod.programs)/warrend", "sidecar", "--token-file", Pod.tokenFile, "--name", name ?? pod.name,
            "--state-dir", Pod.stateFolder, "--interface", Plan.interface, "--control", Pod.controlSocket, "--port",
            "\(Plan.tunnelPort)",
            // A scenario's end waits for nobody, unless its options say so.
            "--drain", "0",
        ]
        let process = try pod.sandbox.spawn(
            pod.enterUnprivileged + words + options,
            environment: environment.merging(Image.environment(folder: Pod.programs)) { $1 })
        sidecars[pod.name] = process
        return process
    }

    /// Waits until the hub has accepted the pod's sidecar; returns the seconds it took from now.
    @discardableResult
    package func waitReady(_ pod: Pod, timeout: Double = 15) throws -> Double {
        let process = try sidecar(of: pod)
        return try waitUntil("\(pod.name) ready", timeout: timeout) {
            guard process.isRunning else { throw LabError.ended("sidecar of \(pod.name)", text: process.standardError) }
            return try warren("ready", in: pod).succeeded
        }
    }

    /// Hub, two pods, sidecars that are ready: what most scenarios begin with.
    package func startPair() throws -> (a: Pod, b: Pod) {
        try startHub()
        return try startPods()
    }

    /// As `startPair`, with a hub that runs.
    package func startPods() throws -> (a: Pod, b: Pod) {
        let pair = (a: try addPod("pod-a", site: Plan.siteA), b: try addPod("pod-b", site: Plan.siteB))
        for pod in [pair.a, pair.b] { try startSidecar(pod, token: try token("--name", pod.name)) }
        for pod in [pair.a, pair.b] { try waitReady(pod) }
        return pair
    }

    /// SIGKILL to the sidecar; its interface, addresses and routes stay.
    package func killSidecar(_ pod: Pod) throws {
        let process = try sidecar(of: pod)
        process.signal(SIGKILL)
        _ = try process.wait(timeout: 5)
    }

    // MARK: - The sidecar's local API

    /// `warren --control SOCKET …` in the pod, as the sidecar's uid.
    package func warren(_ words: String..., in pod: Pod) throws -> Output {
        try pod.sandbox.result(
            of: pod.enterUnprivileged + ["\(Pod.programs)/warren", "--control", Pod.controlSocket] + words,
            environment: Image.environment(folder: Pod.programs))
    }

    package func peers(of pod: Pod) throws -> [PeerReport] {
        let output = try warren("peers", "--json", in: pod)
        guard output.succeeded else {
            throw LabError.command(["warren", "peers"], status: output.status, text: output.text)
        }
        return try JSONDecoder().decode([PeerReport].self, from: Data(output.standardOutput.utf8))
    }

    /// The peer at `address`, once the pod's sidecar knows it.
    package func peer(of pod: Pod, at address: String) throws -> PeerReport? {
        try peers(of: pod).first { $0.addresses.contains { $0 == address || $0.hasPrefix("\(address)/") } }
    }

    package func status(of pod: Pod) throws -> StatusReport {
        let output = try warren("status", "--json", in: pod)
        guard output.succeeded else {
            throw LabError.command(["warren", "status"], status: output.status, text: output.text)
        }
        return try JSONDecoder().decode(StatusReport.self, from: Data(output.standardOutput.utf8))
    }

    /// Sends until the pod's path to `address` is direct; returns the peer and the seconds it took.
    @discardableResult
    package func waitDirect(_ pod: Pod, to address: String, timeout: Double = 10) throws -> (
        value: PeerReport, seconds: Double
    ) {
        let ping = try pod.startPing(address)
        defer { ping.stop() }
        return try waitUntil("\(pod.name) direct to \(address)", timeout: timeout) {
            try peer(of: pod, at: address).flatMap { $0.path == "direct" ? $0 : nil }
        }
    }

    // MARK: - The end

    /// DEL for each pod, SIGTERM for each program, then nothing is left. Returns what went wrong on the way.
    @discardableResult
    package func tearDown() -> [String] {
        var faults: [String] = []
        for (name, process) in sidecars.sorted(by: { $0.key < $1.key }) where process.isRunning {
            let status = process.stop()
            if status != 0 { faults.append("sidecar of \(name) ended with \(status) on SIGTERM") }
        }
        for pod in pods.values.sorted(by: { $0.name < $1.name }) {
            do {
                try runtime.delete(pod, node: Self.node(of: pod.site))
            } catch {
                faults.append("DEL of \(pod.name): \(error)")
            }
        }
        let stores = Set(pods.values.map { runtime.dataDir(of: $0.site) }).sorted()
        let reserved = stores.flatMap { names(in: "\($0)/networks/\(Plan.meshName)") }.filter { name in
            attachments.values.contains { $0.ipv6 == name || $0.ipv4 == name }
        }
        let ports = stores.flatMap { names(in: "\($0)/node-ports") }.filter { UInt16($0) != nil }
        faults += ports.map { "node port \($0) is still reserved" }
        faults += reserved.map { "address \($0) is still reserved" }
        for process in [hub].compactMap(\.self) + Array(roleHubs.values) + Array(relays.values) where process.isRunning
        {
            let status = process.stop()
            if status != 0 { faults.append("the hub ended with \(status) on SIGTERM") }
        }
        sandbox.tearDown()
        return faults + Sandbox.remains(of: sandbox.name)
    }
}
