import Addressing
package import Control
import Gather
package import Membership
import PortMapping
import STUN
package import Sodium
import Timing

/// Looks at the network around this host: its NAT, what of a mesh can be reached and how, and who stands in between.
///
/// Everything is asked at once, and an answer is there within five seconds. No privilege is needed.
package struct NetworkCheck: Sendable {
    package struct Hub: Sendable {
        package var address: HubAddress
        package var pin: Bytes32

        package init(address: HubAddress, pin: Bytes32) {
            self.address = address
            self.pin = pin
        }
    }

    /// Whose certificate is pinned, and who knows where relays are.
    package var hub: Hub?
    /// What is known beside what the hub says.
    package var places: MeshPlaces
    package var proxy: ProxyAddress?
    private static let gatewayTime = Interval.milliseconds(4200)
    /// For the hub, and then again for relays that it names.
    private static let streamTime = Interval.milliseconds(2300)

    package init(hub: Hub?, places: MeshPlaces = MeshPlaces(), proxy: ProxyAddress? = nil) {
        self.hub = hub
        self.places = places
        self.proxy = proxy
    }

    package func run() async -> NetcheckReport {
        let start = MonotonicTime.now()
        var report = NetcheckReport()
        let gateway = await onThread { try DefaultGateway.find() } ?? nil
        let own = await onThread { try DefaultGateway.hostAddresses() } ?? []
        report.addresses = own.map(\.description)
        report.gateway = gateway?.gateway.description
        report.proxy = proxy?.address.description

        async let mappings = portMapping(gateway)
        let known =
            own + (gateway.map { [.v4($0.gateway)] } ?? []) + places.servers.map(\.address)
            + (hub.flatMap { IPAddress($0.address.host) }.map { [$0] } ?? [])
        async let portal = CaptivePortal.find(hub: hub?.address, known: known)
        let hub = await reachHub()
        report.hub = hub.report
        let places = hub.places
        async let nat = behavior(of: places, own: own)
        async let relays = reach(places)
        (report.ipv4, report.ipv6) = await nat
        report.relays = await relays
        report.portMapping = await mappings
        report.captivePortal = await portal
        report.interceptingProxy = hub.interceptor
        report.problems = problems(of: report)
        report.seconds = MonotonicTime.now().since(start).seconds
        return report
    }

    // MARK: The hub

    /// Directly, and through the proxy if there is one; the first that answers says where relays are.
    private func reachHub() async -> (report: ReachReport?, places: MeshPlaces, interceptor: String?) {
        guard let hub else { return (nil, places, nil) }
        let request = StreamProbe.get("/healthz", host: hub.address.description)
        var direct = StreamProbe(hub.address, pin: hub.pin, request: request)
        direct.timeout = Self.streamTime
        var through = direct
        through.proxy = proxy
        async let proxied = Self.run(proxy == nil ? nil : through)
        let first = await direct.run()
        let second = await proxied
        let best = first.failure == nil ? first : second ?? first
        var report = ReachReport(hub.address, best)
        if first.failure != nil, best.failure == nil { report.detail = "through the proxy" }
        var found = places
        if let document = best.response, document.status == 200, let said = MeshPlaces(health: document.body) {
            found.relays += said.relays.filter { relay in !found.relays.contains { $0.udp == relay.udp } }
            found.stun += said.stun.filter { !found.stun.contains($0) }
        }
        for case .intercepted(let issuer, _)? in [first.failure, second?.failure] { return (report, found, issuer) }
        return (report, found, nil)
    }

    private static func run(_ probe: StreamProbe?) async -> StreamProbe.Outcome? { await probe?.run() }

    // MARK: UDP

    private func behavior(of places: MeshPlaces, own: [IPAddress]) async -> (NATReport?, NATReport?) {
        async let ipv4 = behavior(of: places, own: own, isIPv6: false)
        async let ipv6 = behavior(of: places, own: own, isIPv6: true)
        return await (ipv4, ipv6)
    }

    private func behavior(of places: MeshPlaces, own: [IPAddress], isIPv6: Bool) async -> NATReport? {
        let servers = places.servers.filter { $0.address.isIPv6 == isIPv6 }
        guard !servers.isEmpty, own.contains(where: { $0.isIPv6 == isIPv6 }) || !isIPv6 else { return nil }
        return await onThread {
            try BehaviorProbe.run(servers: servers, hostAddresses: own, refusedTargets: places.refusedTargets)
        }.map { NATReport($0) }
    }

    private func portMapping(_ gateway: DefaultGateway?) async -> [PortMappingReport] {
        guard let gateway else { return [] }
        let findings = await onThread {
            try GatewaySession(gateway, internalPort: 9, .discover).discover(within: Self.gatewayTime)
        }
        return MappingProtocol.allCases.compactMap { kind in findings?[kind].map { PortMappingReport(kind, $0) } }
    }

    // MARK: Relays

    private func reach(_ places: MeshPlaces) async -> [RelayReachReport] {
        let endpoints = places.relays.flatMap(\.udp)
        async let pings = onThread { try ServerPing.run(endpoints) }
        var probes: [(relay: Int, proxy: ProxyAddress?, probe: StreamProbe)] = []
        for (index, relay) in places.relays.enumerated() {
            guard let address = relay.tls, let pin = relay.pin ?? hub?.pin else { continue }
            for proxy in proxy == nil ? [nil] : [nil, proxy] {
                var probe = StreamProbe(address, proxy: proxy, pin: pin)
                probe.timeout = Self.streamTime
                probes.append((index, proxy, probe))
            }
        }
        let streams = await withTaskGroup(of: (relay: Int, isProxied: Bool, report: ReachReport).self) { group in
            for (index, proxy, probe) in probes {
                group.addTask { (index, proxy != nil, ReachReport(probe.target, await probe.run())) }
            }
            var reports: [(relay: Int, isProxied: Bool, report: ReachReport)] = []
            for await report in group { reports.append(report) }
            return reports
        }
        let answers = await pings ?? [:]
        return places.relays.enumerated().map { index, relay in
            RelayReachReport(
                id: relay.id, udp: relay.udp.map { ReachReport($0, roundTrip: answers[$0]) },
                tls: streams.first { $0.relay == index && !$0.isProxied }?.report,
                proxy: streams.first { $0.relay == index && $0.isProxied }?.report)
        }
    }
}
