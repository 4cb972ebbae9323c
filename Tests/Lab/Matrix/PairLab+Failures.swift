import Control
import Glibc

extension PairLab {
    /// How long a stream is watched after a failure, at least and at most, in seconds.
    private static let watch = (least: 3.0, most: 15.0)

    private static let classes: [Failure: String] = [
        .routerRebooted: "rewritten", .streamRelayKilled: "udp-blocked",
    ]

    /// Brings one failure about while a TCP stream is open, between sidecars that have just started.
    package func bringAbout(_ failure: Failure, repetition: Int) throws -> FailureTrial {
        let kind = try NATClass.named(Self.classes[failure] ?? "port-restricted")
        try install(kind, kind)
        if failure == .relayKilled { try mesh.underlay.separateSites() }
        defer { try? repair(failure) }
        let began = Clock.now
        try restart()
        if let fault = waitLinked(since: began) { throw LabError.unexpected("before \(failure.title): \(fault)") }
        try mesh.underlay.resetTraffic()
        let (a, b) = (pods[0], pods[1])
        let (address, peerAddress) = (try mesh.virtualIPv6(of: a), try mesh.virtualIPv6(of: b))
        let stream = try InnerStream(from: a, address, to: b, peerAddress)
        let wanted = [.relayKilled, .streamRelayKilled].contains(failure) ? "relay" : "direct"
        let deadline = Clock.now + 8
        // A relayed pair talks for a moment too, so that the failure does not hit a handshake.
        let least = Clock.now + 1
        while paths() != "\(wanted)/\(wanted)" || Clock.now < least {
            stream.run(until: Clock.now + 0.05)
            if Clock.now > deadline {
                throw LabError.timeout("\(wanted) paths before \(failure.title): \(paths())", seconds: 8)
            }
        }
        let before = paths()
        let start = Clock.now
        try cause(failure, repetition: repetition)
        stream.run(until: start + Self.watch.least)
        stream.run(until: start + Self.watch.most) { (stream.arrivals.last ?? 0) > Clock.now - 0.1 }
        let recovered = (stream.arrivals.last ?? 0) > Clock.now - 0.2
        return FailureTrial(
            failure: failure, silence: stream.longestSilence(since: start) * 1000, recovered: recovered,
            fault: stream.fault, before: before, after: paths())
    }

    private func cause(_ failure: Failure, repetition: Int) throws {
        switch failure {
        case .directKilled: try mesh.underlay.separateSites()
        case .relayKilled, .relayKilledWhileDirect: try killRelayInUse()
        case .streamRelayKilled: try killHomeRelay()
        case .routerRebooted: try networks[repetition % 2].reboot(seed: 2 + repetition)
        case .roamed: try roam()
        }
    }

    private func repair(_ failure: Failure) throws {
        switch failure {
        case .directKilled: try mesh.underlay.joinSites()
        case .relayKilled:
            try mesh.underlay.joinSites()
            try mesh.startRelays()
        case .relayKilledWhileDirect, .streamRelayKilled: try mesh.startRelays()
        case .routerRebooted: break
        case .roamed: try returnHome()
        }
    }

    /// The relay that has carried the most.
    private func killRelayInUse() throws {
        let counts = [try mesh.underlay.count(of: .relay0), try mesh.underlay.count(of: .relay1)]
        try mesh.killRelay(counts[0] >= counts[1] ? 0 : 1)
    }

    /// The relay that the first pod says is its home.
    private func killHomeRelay() throws {
        let home = status(of: pods[0])?.relays.first { $0.role == "home" }
        guard let home, let index = Plan.relays.firstIndex(where: { home.address.hasPrefix("\($0):") }) else {
            throw LabError.unexpected("home relay \(String(describing: home))")
        }
        try mesh.killRelay(index)
    }

    /// The first pod's network is another from one moment to the next: one interface goes as another gets the route.
    private func roam() throws {
        try mesh.underlay.attach(pods[0].namespace, to: Plan.siteC, host: 2, link: "eth1")
        try pods[0].namespace.batch([
            "link delete eth0", "route add default via \(Plan.siteC.insideGateway) dev eth1",
        ])
    }

    private func returnHome() throws {
        try pods[0].namespace.batch(["link delete eth1"])
        try mesh.underlay.attach(pods[0].namespace, to: Plan.siteA, host: 2)
    }

    /// The paths of both ends, as `direct/relay`.
    package func paths() -> String {
        guard let a = try? mesh.virtualIPv6(of: pods[0]), let b = try? mesh.virtualIPv6(of: pods[1]) else { return "" }
        return [peer(of: pods[0], at: b), peer(of: pods[1], at: a)].map { $0?.path ?? "none" }.joined(separator: "/")
    }
}
