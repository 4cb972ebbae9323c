import AEAD
import Addressing
import Directory
import Linux
import Logging
import Membership
import NIOCore
import Relay
import RelayStream
import Sodium
import Synchronization
import Timing
import Transport
import Tunnel
import WireGuard

/// One run of the agent with its device: joins, starts the tunnel, and lets hub and tunnel talk to each other.
final class AgentRun: Sendable {
    let configuration: SidecarConfiguration
    let membership: AgentMembership
    let status: AgentStatus
    let identity: Identity
    let logger: Logger
    /// Nil where the pod has no resolver of ours.
    let names: PodNames?
    let interfaceAddresses: [IPAddress]
    private let device: Mutex<PodInterface.Device?>
    private let proxies: ProxyRules
    /// Set once the agent has joined.
    let joined = Mutex<Joined?>(nil)
    private let left: AsyncStream<Void>
    private let leaving: AsyncStream<Void>.Continuation

    struct Joined: Sendable {
        let tunnel: TunnelThread<Peering>
        let directory: DirectoryClient
        let publicKey: X25519.PublicKey
        let mesh: MeshInfo
    }

    init(
        _ configuration: SidecarConfiguration, _ membership: AgentMembership, _ status: AgentStatus,
        _ identity: Identity,
        _ device: consuming PodInterface.Device, _ proxies: ProxyRules, _ logger: Logger, _ names: PodNames?
    ) {
        self.configuration = configuration
        self.membership = membership
        self.status = status
        self.identity = identity
        self.logger = logger
        self.names = names
        interfaceAddresses = device.addresses
        self.device = Mutex(device)
        self.proxies = proxies
        (left, leaving) = AsyncStream.makeStream()
    }

    /// Returns a moment after the agent has left: whoever asked for it gets the answer first.
    func waitUntilLeft() async {
        for await _ in left { break }
        try? await Task.sleep(nanoseconds: 300_000_000)
    }

    func leave() async throws(DirectoryError) {
        try await membership.leave()
        logger.info("left mesh \(membership.mesh): name and addresses are free")
    }

    /// Ends the run of an agent that has left.
    func stop() { leaving.yield() }

    /// Joins and carries packets until the task is cancelled or the device is gone.
    func carry() async throws {
        let admission = try await membership.admit(interfaceAddresses) { [status] error in
            status.change { state in
                state.hub = .unreachable
                state.hubDetail = "\(error)"
            }
        }
        status.change { state in
            state.name = admission.credential.name
            state.credential = admission.credential
            state.hub = .joining
            state.hubDetail = ""
        }
        logger.info(
            "joined mesh \(membership.mesh) as \(admission.credential.name); credential until \(admission.credential.expires.seconds)"
        )
        let (events, sink) = AsyncStream<PeeringEvent>.makeStream(bufferingPolicy: .bufferingNewest(4096))
        let (tunnel, publicKey) = try startTunnel(admission, sink)
        let directory = DirectoryClient(
            address: admission.mesh.directory, pin: admission.mesh.directoryPin, verifier: membership.verifier,
            identity: identity, credential: admission.credential, logger: logger,
            proxy: proxies.proxy(for: admission.mesh.directory.host))
        joined.withLock {
            $0 = Joined(tunnel: tunnel, directory: directory, publicKey: publicKey, mesh: admission.mesh)
        }
        names?.joined(admission.mesh.ranges)
        let talk = AgentTalk(
            run: self, tunnel: tunnel, directory: directory, mesh: admission.mesh, publicKey: publicKey)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await Self.runThread(tunnel) }
            group.addTask { await directory.run() }
            group.addTask { await talk.follow(directory.events) }
            group.addTask { await talk.follow(events) }
            group.addTask { await talk.announce(admission.credential) }
            group.addTask { try await talk.renewals() }
            group.addTask { try await talk.watchUnderlay() }
            group.addTask { try await talk.trimHeap() }
            group.addTask { try await talk.watchNAT() }
            group.addTask { try await talk.keepPortMapped() }
            group.addTask { try await talk.greetRequired() }
            defer { group.cancelAll() }
            // Tasks that end by themselves have done their part; the tunnel's end is the end.
            while let _ = try await group.next() {}
        }
    }

    /// Makes the static key of this process, the device and the tunnel.
    private func startTunnel(
        _ admission: AuthorityClient.Admission, _ events: AsyncStream<PeeringEvent>.Continuation
    ) throws(SidecarError) -> (TunnelThread<Peering>, X25519.PublicKey) {
        guard let pod = device.withLock({ $0.take() }) else { throw .device("the device is in use") }
        let now = MonotonicTime.now()
        do {
            var random = SecureRandom()
            let staticKey = try SecretKey(using: &random)
            let publicKey = X25519.publicKey(of: staticKey)
            let probeKey = try staticKey.copy()
            var configuration = Device.Configuration()
            configuration.roaming = .caller
            configuration.repeatsHandshakes = true
            configuration.mtu = pod.mtu
            let device = Device(privateKey: staticKey, random: random, configuration: configuration)
            let (offloads, mtu, nodePort) = (pod.offloads, pod.mtu, pod.nodePort)
            let uplinks = RelayUplinks(admission.mesh.relays, proxies)
            let bridge = try StreamBridge(uplinks.connectors, on: HubLink.group.next())
            var core = try TunnelCore(
                device: device, tun: pod.takeTun(), offloads: offloads, mtu: mtu, streams: bridge.gate)
            core.pathLimit = PodInterface.provenPathLimit
            try bind(&core, nodePort)
            core.relays = [RelayRoute?](repeating: nil, count: uplinks.relays.count)
            let peering = Peering(
                identity: identity, verifier: membership.verifier, meshRanges: admission.mesh.ranges,
                ownAddresses: interfaceAddresses, staticKey: probeKey, epoch: UInt32(clamping: WallTime.now().seconds),
                relays: uplinks.relays,
                homes: uplinks.homes(identity, credential: Array(admission.credential.text.utf8), now: now),
                bridge: bridge, stunServers: admission.mesh.stun, hasIPv6: core.hasIPv6, maximumPacket: core.mtu,
                nodePort: nodePort.flatMap { $0.podPort == core.port ? $0.nodePort : nil },
                events: events, now: now)
            logger.info(
                """
                tunnel on UDP port \(core.port); TUN offloads \(core.offloads), UDP receive offload \
                \(core.hasReceiveOffload ? "on" : "off"), packets sealed by \(AEADLibrary.chosen) \
                on \(TunnelThread<Peering>.packetThreads) thread(s)\(nodePort.map { "; \($0)" } ?? "")
                """)
            let tunnel = try TunnelThread(core, peering)
            bridge.follow { report in
                tunnel.perform { core, peering in peering.streamReported(report, &core, now: .now()) }
            }
            return (tunnel, publicKey)
        } catch { throw .device("start the tunnel: \(error)") }
    }

    /// Binds the configured port; where any will do, the one that a port of the node leads to, if it is free.
    private func bind(_ core: inout TunnelCore, _ nodePort: NodePortHint?) throws {
        if configuration.port == 0, let nodePort {
            do { return try core.bind(port: nodePort.podPort) } catch {
                logger.warning("bind UDP port \(nodePort.podPort), which \(nodePort) is for: \(error); taking any")
            }
        }
        try core.bind(port: configuration.port)
    }

    /// Gives the tunnel its thread, and ends with it: normally when the task is cancelled, with an error when the device is
    /// gone.
    private static func runThread(_ tunnel: TunnelThread<Peering>) async throws {
        let failure: SystemError? = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<SystemError?, Never>) in
                do throws(SystemError) {
                    _ = try Thread(named: "warren-tunnel") { continuation.resume(returning: tunnel.run()) }
                } catch { continuation.resume(returning: error) }
            }
        } onCancel: {
            tunnel.stop()
        }
        if let failure { throw SidecarError.noInterface("\(failure): the interface was deleted or taken away") }
    }
}
