/// The plan's routers, cabled: `wan`, the hub's place, and a masquerading router for each site. Pods come later.
package struct Underlay: Sendable {
    /// How many routers are between two sites: `wan` alone, or a provider of each as well.
    package enum Distance: Sendable { case near, far }

    package let sandbox: Sandbox
    package let wan: Namespace
    package let hub: Namespace
    package let routers: [String: Namespace]
    /// The provider of each site, by its letter; empty in a near underlay.
    package let providers: [String: Namespace]
    package let sites: [Plan.Site]

    package init(in sandbox: Sandbox, sites: [Plan.Site] = Plan.sites, distance: Distance = .near) throws {
        self.sandbox = sandbox
        self.sites = sites
        let wan = try sandbox.namespace("wan")
        let hub = try sandbox.namespace("hub")
        self.wan = wan
        self.hub = hub
        try wan.forward()
        try wan.load(rules: Plan.internet)
        try hub.connect("eth0", "\(Plan.hub)/30", to: wan, "hub", "\(Plan.wanTowardsHub)/30")
        var routers: [String: Namespace] = [:]
        var providers: [String: Namespace] = [:]
        for site in sites {
            let router = try sandbox.namespace(site.router)
            switch distance {
            case .near:
                try router.connect("wan", "\(site.publicAddress)/29", to: wan, site.router, "\(site.gateway)/29")
            case .far: providers[site.letter] = try Self.addProvider(of: site, router, wan)
            }
            try router.route("default", via: site.gateway)
            try hub.route(site.publicNetwork, via: Plan.wanTowardsHub)
            try router.run("ip", "link", "add", "lan", "type", "bridge")
            try router.run("ip", "address", "add", "\(site.insideGateway)/24", "dev", "lan")
            try router.run("ip", "link", "set", "lan", "up")
            try router.forward()
            try router.load(rules: Plan.homeRouter)
            routers[site.letter] = router
        }
        self.routers = routers
        self.providers = providers
        if distance == .far {
            try wan.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
            for site in sites { try addIPv6(of: site) }
            for server in Plan.servers + Plan.relays.dropFirst() {
                try hub.run("ip", "address", "add", "\(server)/32", "dev", "lo")
            }
            try wan.route(Plan.serverNetwork, via: Plan.hub)
        }
    }

    /// Addresses and routes for IPv6 from the site's network to `wan`. Pods have none until a class of NAT gives them one.
    private func addIPv6(of site: Plan.Site) throws {
        let (router, provider) = (try router(of: site), try provider(of: site))
        let (near, far) = (site.linksIPv6.router, site.linksIPv6.transfer)
        for place in [router, provider] { try place.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1") }
        try wan.batch([
            "address add \(far[0])/64 dev \(site.router) nodad", "route add \(site.insideIPv6)::/64 via \(far[1])",
        ])
        try provider.batch([
            "address add \(far[1])/64 dev wan nodad", "address add \(near[0])/64 dev customer nodad",
            "route add default via \(far[0])", "route add \(site.insideIPv6)::/64 via \(near[1])",
        ])
        try router.batch([
            "address add \(near[1])/64 dev wan nodad", "address add \(site.insideGatewayIPv6)/64 dev lan nodad",
            "route add default via \(near[0])",
        ])
    }

    /// A router between a site's own and `wan`: it knows the site's public network and how to reach everything else.
    private static func addProvider(of site: Plan.Site, _ router: Namespace, _ wan: Namespace) throws -> Namespace {
        let provider = try router.sandbox.namespace(site.provider)
        try router.connect("wan", "\(site.publicAddress)/29", to: provider, "customer", "\(site.gateway)/29")
        try provider.connect(
            "wan", "\(site.transfer.provider)/30", to: wan, site.router, "\(site.transfer.internet)/30")
        try provider.route("default", via: site.transfer.internet)
        try provider.forward()
        try wan.route(site.publicNetwork, via: site.transfer.provider)
        return provider
    }

    package func router(of site: Plan.Site) throws -> Namespace {
        guard let router = routers[site.letter] else { throw LabError.unexpected("no router for site \(site.letter)") }
        return router
    }

    package func provider(of site: Plan.Site) throws -> Namespace {
        guard let provider = providers[site.letter] else {
            throw LabError.unexpected("no provider for site \(site.letter): the underlay is a near one")
        }
        return provider
    }

    /// Plugs a namespace into a site's private network as `eth0`, with a default route through the router.
    ///
    /// - Parameter link: another name, for a second network; then it gets no default route.
    package func attach(_ namespace: Namespace, to site: Plan.Site, host: Int, link: String = "eth0") throws {
        let router = try router(of: site)
        let port = "pod\(host)"
        try sandbox.run(
            "ip", "link", "add", link, "netns", namespace.name, "type", "veth", "peer", "name", port, "netns",
            router.name)
        try router.run("ip", "link", "set", port, "master", "lan", "up")
        try namespace.run("ip", "address", "add", "\(site.pod(host))/24", "dev", link)
        try namespace.run("ip", "link", "set", link, "up")
        if link == "eth0" { try namespace.route("default", via: site.insideGateway) }
    }

    /// Forgets every NAT binding of a site's router, as a reboot of it does.
    package func flushConntrack(of site: Plan.Site) throws {
        try router(of: site).run("conntrack", "-F")
    }

    /// From now on sites cannot reach each other, as behind firewalls: only the hub's place is left.
    package func separateSites() throws {
        try wan.run(
            "nft", "-f", "-",
            input: """
                table inet apart {
                    chain forward {
                        type filter hook forward priority -5; policy accept;
                        iifname { \(links) } oifname { \(links) } drop
                    }
                }

                """)
    }

    /// Ends what `separateSites` began.
    package func joinSites() throws { _ = try wan.result(of: ["nft", "delete", "table", "inet", "apart"]) }

    /// The links of `wan` to the sites, as nftables writes a set's members.
    private var links: String { sites.map { "\"\($0.router)\"" }.joined(separator: ", ") }

    /// What `wan` counts after `countTraffic`: datagrams from one site to another, to and from each relay of the plan, to
    /// and from STUN servers, and TCP segments of any kind.
    package enum Traffic: String, CaseIterable, Codable, Sendable {
        case direct, relay0, relay1, stun, tcp
    }

    /// From now on `wan` counts what passes.
    package func countTraffic() throws {
        let counters = Traffic.allCases.map { "counter all_\($0.rawValue) { }" }.joined(separator: "\n")
        let relays = Plan.relays.enumerated().map { index, relay in
            "ip saddr \(relay) udp sport 3478 counter name all_relay\(index)\n"
                + "ip daddr \(relay) udp dport 3478 counter name all_relay\(index)"
        }
        let stun = Plan.servers.joined(separator: ", ")
        try wan.run(
            "nft", "-f", "-",
            input: """
                table inet traffic {
                    \(counters)
                    chain forward {
                        type filter hook forward priority -10; policy accept;
                        iifname { \(links) } oifname { \(links) } meta l4proto udp counter name all_direct
                        \(relays.joined(separator: "\n"))
                        ip saddr { \(stun) } meta l4proto udp counter name all_stun
                        ip daddr { \(stun) } meta l4proto udp counter name all_stun
                        meta l4proto tcp counter name all_tcp
                    }
                }

                """)
    }

    package func resetTraffic() throws { try wan.run("nft", "reset", "counters", "table", "inet", "traffic") }

    package func count(of traffic: Traffic) throws -> Int { try count("inet", "traffic", "all_\(traffic.rawValue)") }

    /// How many packets with a private address reached the Internet: not 0 means that a NAT leaks.
    package func privatePackets() throws -> Int { try count("ip", "internet", "private") }

    /// The packets that a counter of `wan` has seen.
    private func count(_ family: String, _ table: String, _ counter: String) throws -> Int {
        let text = try wan.run("nft", "list", "counter", family, table, counter)
        guard let words = text.split(separator: "packets ").last?.split(separator: " "), let count = Int(words[0])
        else {
            throw LabError.unexpected("nft printed \(text)")
        }
        return count
    }

    /// Empty when the sites' networks are unreachable from the Internet, as behind a NAT; else what is wrong.
    package func leaks() throws -> [String] {
        var faults: [String] = []
        for site in sites {
            for place in [hub, wan] where try place.result(of: ["ip", "route", "get", site.pod(2)]).succeeded {
                faults.append("\(place.name) has a route to \(site.pod(2))")
            }
        }
        if try privatePackets() != 0 { faults.append("packets with private addresses reached the Internet") }
        return faults
    }
}
