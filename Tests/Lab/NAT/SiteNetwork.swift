import Glibc
package import NATBox

/// A site whose router can be made any kind of NAT, again and again. Not safe for concurrent use.
package final class SiteNetwork {
    package let underlay: Underlay
    package let site: Plan.Site
    package let router: Namespace
    package let provider: Namespace
    package private(set) var current: NATClass?
    /// What a sidecar behind this router has to be told.
    package private(set) var sidecarEnvironment: [String: String] = [:]
    /// The site's pods by their host numbers: they get IPv6 addresses where the class has them.
    package var pods: [Int: Namespace] = [:]
    /// Maps ports of the router, which is a node, to its pods: what the CNI plugin does there. Without it the class
    /// `node-mapped` has rules that stand for it.
    package var mapNodePorts: (() throws -> Void)?
    /// Where `warren-natbox` is.
    private let programs: String
    private var box: UserspaceBox?
    private var weatherBox: UserspaceBox?
    private var service: LabService?

    /// - Parameter underlay: a far one.
    package init(_ underlay: Underlay, _ site: Plan.Site, programs: String) throws {
        self.underlay = underlay
        self.site = site
        self.programs = programs
        router = try underlay.router(of: site)
        provider = try underlay.provider(of: site)
    }

    /// Makes the site's router a NAT of that class; no binding of the one before is left.
    package func install(_ nat: NATClass) throws {
        try clear()
        current = nil
        if case .userspace(let behaviour) = nat.router {
            try setAddresses([site.publicAddresses[4]], isShared: false)
            try startBox(behaviour)
        } else {
            let addresses = nat.provider == nil ? site.publicAddresses : [site.sharedAddress]
            try setAddresses(addresses, isShared: nat.provider != nil)
            let isDual = nat.router == .symmetricWithIPv6
            var recipe = nat.router
            if case .nodeMapped = recipe, mapNodePorts != nil { recipe = .node }
            try router.load(rules: recipe.rules(sides(addresses)) + (isDual ? Recipe.firewallIPv6 : ""))
            if recipe == .node { try mapNodePorts?() }
            if isDual { try giveIPv6() }
        }
        if let outer = nat.provider {
            let sides = RouterSides(
                insideLink: "customer", addresses: [site.publicAddress], host: site.sharedAddress)
            try provider.load(rules: outer.rules(sides))
        }
        try startService(nat)
        current = nat
        try forget()
    }

    private func sides(_ addresses: [String]) -> RouterSides {
        RouterSides(insideLink: "lan", addresses: addresses, host: site.pod(2))
    }

    /// Loses every binding, as a reboot of both routers does.
    package func forget() throws {
        try router.run("conntrack", "-F")
        // What is in it would not be replaced: a port that is given again would lead to the socket of before.
        if current?.router.learns == true { try router.run("nft", "flush", "map", "ip", "lab", "mappings") }
        box?.reboot()
        if current?.provider != nil { try provider.run("conntrack", "-F") }
        if current?.provider?.learns == true { try provider.run("nft", "flush", "map", "ip", "lab", "mappings") }
    }

    /// A reboot after which the outside ports are others. Only of the class `rewritten`.
    package func reboot(seed: Int) throws {
        try router.load(rules: Recipe.rewritten(seed: seed).rules(sides(site.publicAddresses)))
        try forget()
    }

    /// From now on everything between the site and the Internet is delayed, lost or reordered by its provider, one more
    /// routed hop. Not together with a class whose provider translates.
    package func setWeather(outward: Weather, inward: Weather) throws {
        try clearWeather()
        let behaviour = BoxBehaviour(inside: site.publicNetwork, outside: [])
        weatherBox = try UserspaceBox(in: provider, programs: programs, behaviour, outward: outward, inward: inward)
        try provider.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.box.rp_filter=0")
        try provider.batch([
            "route add default dev \(UserspaceBox.link) table 100", "rule add iif customer lookup 100",
            "rule add iif wan lookup 100",
        ])
    }

    package func clearWeather() throws {
        guard let box = weatherBox else { return }
        weatherBox = nil
        box.stop()
        try provider.batch(["rule delete iif customer lookup 100", "rule delete iif wan lookup 100"])
    }

    // MARK: - Parts

    private func clear() throws {
        service?.stop()
        service = nil
        sidecarEnvironment = [:]
        try router.run("nft", "flush", "ruleset")
        try provider.run("nft", "flush", "ruleset")
        if current?.router == .symmetricWithIPv6 {
            for pod in pods.values { try pod.run("ip", "-6", "address", "flush", "dev", "eth0", "scope", "global") }
        }
        guard let box else { return }
        self.box = nil
        box.stop()
        try router.batch(["rule delete iif lan lookup 100"])
        try provider.batch(["route delete \(site.publicAddress)/32"])
    }

    /// The public address is the box's; the router has another one, to be reached at.
    private func startBox(_ behaviour: BoxBehaviour) throws {
        var behaviour = behaviour
        behaviour.inside = site.insideNetwork
        behaviour.outside = [site.publicAddress]
        box = try UserspaceBox(in: router, programs: programs, behaviour)
        try router.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.box.rp_filter=0")
        try router.batch([
            "route add \(site.publicAddress)/32 dev \(UserspaceBox.link)",
            "route add default dev \(UserspaceBox.link) table 100", "rule add iif lan lookup 100",
        ])
        try provider.batch(["route replace \(site.publicAddress)/32 via \(site.publicAddresses[4]) dev customer"])
    }

    /// Every pod of the site has a global IPv6 address from now on, until another class is installed.
    private func giveIPv6() throws {
        for (host, pod) in pods {
            try pod.batch([
                "address replace \(site.podIPv6(host))/64 dev eth0 nodad",
                "route replace default via \(site.insideGatewayIPv6) dev eth0",
            ])
        }
    }

    private func startService(_ nat: NATClass) throws {
        switch nat.router {
        case .proxyOnly:
            service = try LabService.proxy(in: router, address: site.insideGateway)
            let proxy = LabService.proxyURL(site.insideGateway)
            sidecarEnvironment = ["HTTPS_PROXY": proxy, "https_proxy": proxy]
        case .captivePortal: service = try LabService.portal(in: router)
        case .interceptingProxy: service = try LabService.interceptor(in: router)
        default: break
        }
    }

    /// Gives the router its outside addresses: public ones, or one of those that the provider's customers share.
    private func setAddresses(_ addresses: [String], isShared: Bool) throws {
        try router.run("ip", "-4", "address", "flush", "dev", "wan")
        try router.batch(
            addresses.map { "address add \($0)/\(isShared ? 24 : 29) dev wan" }
                + ["route add default via \(isShared ? site.sharedGateway : site.gateway)"])
        if isShared {
            try provider.batch([
                "address replace \(site.sharedGateway)/24 dev customer",
                "address replace \(site.publicAddress)/32 dev lo",
            ])
        } else {
            try provider.batch(["address flush dev lo scope global"])
        }
    }
}
