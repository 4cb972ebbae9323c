package import Addressing
import Directory
package import Logging
import Membership
import NIOCore
import NIOPosix
import NIOSSL
import Relay
import RelayStream
import Sodium
package import Timing

/// A hub at work: its roles on one TLS port and one UDP port.
package final class HubServer: Sendable {
    package enum Role: String, CaseIterable, Sendable { case authority, directory, relay }

    package struct Options: Sendable {
        package var roles: Set<Role>
        /// Port 0 lets the kernel choose, for tests.
        package var listenHost: String
        package var listenPort: UInt16
        package var relayListen: Endpoint
        /// Where RFC 5780 is served; nowhere if empty.
        package var stun: [StunPlaces] = []
        package var limits = ConnectionLimits.Bounds()
        /// A port without TLS for relay streams and health, behind an ingress; nil for none.
        package var webListen: Endpoint?
        /// A port for metrics and health, not for agents; nil for none.
        package var metricsListen: Endpoint?
        /// Relay data to UDP in bytes a second, in all; nil for no bound.
        package var relayPace: UInt64?
        /// Relay data of each agent in bytes a second.
        package var relayClientRate: UInt64 = 250_000_000
        /// How long agents have to go to another relay when this one ends.
        package var relayDrain = Interval.seconds(2)
        /// TLS handshakes at a time, and new connections a second.
        package var handshakes = (atOnce: 128, perSecond: UInt64(2000))
        /// Where pods and nodes may join by their service accounts.
        package var accounts: AccountOptions?
        /// How often that is looked at for metrics which nobody tells of when it changes.
        package var surveyInterval = Interval.seconds(60)
        package var now: @Sendable () -> WallTime = { .now() }

        package init(
            roles: Set<Role> = Set(Role.allCases), listenHost: String, listenPort: UInt16, relayListen: Endpoint
        ) {
            self.roles = roles
            self.listenHost = listenHost
            self.listenPort = listenPort
            self.relayListen = relayListen
        }
    }

    private static let sweepInterval: UInt64 = 600 * 1_000_000_000
    private static let group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton

    /// The TCP port that it listens on.
    package let port: UInt16
    /// The UDP port of relay and STUN, and the port without TLS; 0 where there is none.
    package let relayPort: UInt16
    package let webPort: UInt16
    package let metricsPort: UInt16
    private let listener: TLSListener.Server
    private let plain: [any Channel]
    private let relay: (service: RelayService, loop: RelayLoop)?
    private let stun: StunService?
    private let authority: AuthorityService?
    private let directory: DirectoryService?
    private let loop: ConnectionLoop
    private let metrics: HubMetrics
    /// Whether anybody reads them.
    private let hasMetrics: Bool
    private let surveyInterval: Interval
    private let logger: Logger

    /// Loads the keys of the roles asked for and binds the ports. Nothing is answered before `run`.
    package init(_ folder: HubFolder, _ options: Options, logger: Logger) async throws(HubError) {
        let configuration = folder.configuration
        let verifier = RecordVerifier(mesh: configuration.mesh, authorityKey: configuration.authorityKey)
        let needsStore = !options.roles.isDisjoint(with: [.authority, .directory])
        let metrics = HubMetrics()
        self.metrics = metrics
        hasMetrics = options.metricsListen != nil
        surveyInterval = options.surveyInterval
        let store: (any Store)? = needsStore ? MeteredStore(store: try folder.openStore(), metrics: metrics) : nil
        authority =
            if let store, options.roles.contains(.authority) {
                AuthorityService(
                    authority: Authority(
                        mesh: configuration.mesh, ranges: configuration.ranges, key: try folder.loadAuthorityKey()),
                    info: try folder.meshInfo(), pin: folder.pin, store: store, accounts: options.accounts,
                    logger: logger, metrics: metrics, now: options.now)
            } else { nil }
        do {
            directory =
                if let store, options.roles.contains(.directory) {
                    try await DirectoryService(
                        verifier: verifier, pin: folder.pin, store: store, logger: logger, metrics: metrics,
                        now: options.now)
                } else { nil }
        } catch { throw .store(error) }

        relay =
            if options.roles.contains(.relay) {
                try Self.bindRelay(
                    RelayService(key: folder.loadRelayKey(), verifier: verifier, logger: logger), options)
            } else { nil }
        relayPort = relay?.loop.port ?? 0
        let health = Self.health(
            options.roles, options.roles.contains(.authority) ? try folder.meshInfo() : nil, folder)
        let port = WebPort(health: { health }, exchange: relay?.loop.exchange, now: options.now)
        let tls = try folder.loadTLS()
        if let leaf = try? NIOSSLCertificate.fromPEMBytes(tls.certificate).first {
            metrics.noteCertificate(end: Int64(leaf.notValidAfter))
        }
        let ramp = AdmissionRamp(
            atOnce: options.handshakes.atOnce,
            rate: .init(perSecond: options.handshakes.perSecond, burst: options.handshakes.perSecond / 4 + 1),
            now: .now())
        let listener = try TLSListener(
            certificate: tls.certificate, key: tls.key, limits: ConnectionLimits(options.limits),
            counters: FrameCounters(), web: port, ramp: ramp)
        var plain: [any Channel] = []
        if let endpoint = options.webListen {
            plain.append(try await PlainListener(port, total: options.limits.total).bind(endpoint, group: Self.group))
        }
        webPort = UInt16(clamping: plain.last?.localAddress?.port ?? 0)
        if let endpoint = options.metricsListen {
            var port = port
            let exchange = port.exchange
            port.exchange = nil
            port.metrics = { metrics.text(exchange) }
            plain.append(try await PlainListener(port, total: 64).bind(endpoint, group: Self.group))
        }
        metricsPort = options.metricsListen == nil ? 0 : UInt16(clamping: plain.last?.localAddress?.port ?? 0)
        self.plain = plain
        stun = options.stun.isEmpty ? nil : try StunService(options.stun, logger: logger)
        self.listener = try await listener.bind(
            host: options.listenHost, port: options.listenPort, group: Self.group)
        self.port = UInt16(clamping: self.listener.channel.localAddress?.port ?? 0)
        var roles: Message.Roles = []
        if authority != nil { roles.insert(.authority) }
        if directory != nil { roles.insert(.directory) }
        if relay != nil { roles.insert(.relay) }
        loop = ConnectionLoop(
            authority: authority, directory: directory, roles: roles, logger: logger, now: options.now)
        self.logger = logger
        let listen = self.listener.channel.localAddress.map { "\($0)" } ?? "?"
        if authority != nil { logger.info("authority: on, mesh \(configuration.mesh), TLS \(listen)") }
        if directory != nil { logger.info("directory: on, TLS \(listen)") }
        if let relay {
            logger.info(
                "relay and STUN: on, UDP \(options.relayListen), TLS \(listen)\(RelayUpgrade.path), id \(relay.service.id)"
            )
        }
        if let endpoint = options.webListen { logger.info("relay streams without TLS: on, \(endpoint)") }
        if let endpoint = options.metricsListen { logger.info("metrics: on, GET /metrics, \(endpoint)") }
        logger.info("health: on, GET /healthz, TLS \(listen)")
    }

    /// Agents that are registered at the relay, and streams that are open; 0 without the role.
    package var registeredAgents: Int { relay?.loop.exchange.withServer { $0.clientCount } ?? 0 }
    package var openStreams: Int { relay?.loop.exchange.openStreams ?? 0 }

    /// Serves until the task is cancelled, and then closes all connections.
    package func run() async throws(HubError) {
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.serve() }
                if let directory { group.addTask { try await directory.run() } }
                for channel in plain { group.addTask { try await Self.serve(channel) } }
                if let relay { group.addTask { try await relay.service.run(relay.loop) } }
                if let stun { group.addTask { try await stun.run() } }
                group.addTask { try await self.sweep() }
                group.addTask { try await self.survey() }
                // Any part that ends takes the others with it: half a hub would look healthy.
                defer { group.cancelAll() }
                try await group.next()
            }
        } catch is CancellationError {
        } catch let error as StoreError { throw .store(error) } catch let error as HubError { throw error } catch {
            throw .listen("TLS", reason: "\(error)")
        }
    }

    private func serve() async throws {
        try await listener.executeThenClose { connections in
            try await withThrowingDiscardingTaskGroup { group in
                for try await connection in connections {
                    group.addTask { [loop] in
                        // A failed handshake is the client's trouble.
                        guard case .agent(let channel) = try? await connection.get() else { return }
                        await loop.run(channel)
                    }
                }
            }
        }
    }

    private static func serve(_ web: any Channel) async throws {
        try await withTaskCancellationHandler {
            try await web.closeFuture.get()
        } onCancel: {
            web.close(promise: nil)
        }
    }

    private static func bindRelay(
        _ service: RelayService, _ options: Options
    ) throws(HubError) -> (service: RelayService, loop: RelayLoop) {
        var configuration = RelayServer.Configuration()
        configuration.maximumClients = options.limits.total
        let rate = options.relayClientRate
        configuration.byteLimit = .init(perSecond: rate, burst: max(1 << 20, rate / 8))
        var settings = RelayLoop.Settings()
        settings.pace = options.relayPace.map { .init(perSecond: $0, burst: max(65_536, $0 / 50)) }
        settings.drain = options.relayDrain
        return (service, try service.bind(options.relayListen, configuration, settings))
    }

    private func sweep() async throws {
        while true {
            try await Task.sleep(nanoseconds: Self.sweepInterval)
            try await authority?.sweep()
            try await directory?.sweep()
        }
    }

    /// Looks at what nobody tells of when it changes.
    private func survey() async throws {
        while true {
            if let relay {
                let survey = SourceSurvey(
                    relay.loop.exchange.withServer { $0.links }.filter { !$0.isStream }.map(\.endpoint.address))
                let isNews = metrics.note(isBehindNodes: survey.isBehindNodes)
                if isNews, survey.isBehindNodes { logger.warning("\(survey.warning)") }
            }
            if hasMetrics {
                // A store that fails is counted, and told of by who needs it.
                let usage = try? await authority?.usage()
                metrics.note(
                    HubMetrics.Survey(
                        agents: await directory?.connectedAgents ?? 0, records: try? await directory?.recordCount(),
                        leases: usage?.leases, blocks: usage?.blocks))
            }
            try await Task.sleep(nanoseconds: surveyInterval.nanoseconds)
        }
    }

    /// What `GET /healthz` says: the roles, and where relays and STUN servers are for those who have no credential yet.
    private static func health(_ roles: Set<Role>, _ info: MeshInfo?, _ folder: HubFolder) -> String {
        let states = Role.allCases.map { JSONValue.Member($0.rawValue, .string(roles.contains($0) ? "on" : "off")) }
        var members: [JSONValue.Member] = [.init("status", .string("ok")), .init("roles", .object(states))]
        if let info {
            let own = roles.contains(.relay) ? try? folder.relayID() : nil
            let relays = info.relays.map { relay in
                var facts: [JSONValue.Member] = [
                    .init("id", .string(relay.id.description)),
                    .init("udp", .array(relay.endpoints.map { .string($0.description) })),
                ]
                if relay.id == own {
                    facts.append(.init("tls", .string(folder.configuration.address.description)))
                    facts.append(.init("pin", .string(folder.pin.base64)))
                }
                return JSONValue.object(facts)
            }
            members.append(.init("relays", .array(relays)))
            members.append(.init("stun", .array(info.stun.map { .string($0.description) })))
        }
        return String(decoding: JSONValue.object(members).text, as: UTF8.self)
    }
}

extension HubFolder {
    /// What agents are told when they join.
    func meshInfo() throws(HubError) -> MeshInfo {
        var relays: [MeshInfo.Relay] = []
        for relay in configuration.relays {
            let id = if let id = relay.id { id } else { try relayID() }
            let own = relay.id == nil ? MeshInfo.Stream(address: configuration.address, pin: pin) : nil
            let streams = [relay.stream ?? own].compactMap(\.self)
            if let index = relays.firstIndex(where: { $0.id == id }) {
                let known = relays[index].streams
                relays[index] = MeshInfo.Relay(
                    id: id, endpoints: relays[index].endpoints + [relay.endpoint],
                    streams: known + streams.filter { !known.contains($0) })
            } else {
                relays.append(MeshInfo.Relay(id: id, endpoints: [relay.endpoint], streams: streams))
            }
        }
        return MeshInfo(
            directory: configuration.directory?.address ?? configuration.address,
            directoryPin: configuration.directory?.pin ?? pin, ranges: configuration.ranges, relays: relays,
            stun: configuration.relays.map(\.endpoint) + configuration.stun)
    }
}
