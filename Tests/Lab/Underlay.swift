/// The plan's routers, cabled: `wan`, the hub's place, and a masquerading router for each site. Pods come later.
package struct Underlay: Sendable {
    package let sandbox: Sandbox
    package let wan: Namespace
    package let hub: Namespace
    package let routers: [String: Namespace]

    package init(in sandbox: Sandbox) throws {
        self.sandbox = sandbox
        let wan = try sandbox.namespace("wan")
        let hub = try sandbox.namespace("hub")
        self.wan = wan
        self.hub = hub
        try wan.forward()
        try wan.load(rules: Plan.internet)
        try hub.connect("eth0", "\(Plan.hub)/30", to: wan, "hub", "\(Plan.wanTowardsHub)/30")
        var routers: [String: Namespace] = [:]
        for site in Plan.sites {
            let router = try sandbox.namespace(site.router)
            try router.connect("wan", "\(site.publicAddress)/29", to: wan, site.router, "\(site.gateway)/29")
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
    }

    package func router(of site: Plan.Site) throws -> Namespace {
        guard let router = routers[site.letter] else { throw LabError.unexpected("no router for site \(site.letter)") }
        return router
    }

    /// Plugs a namespace into a site's private network as `eth0`, with a default route through the router.
    package func attach(_ namespace: Namespace, to site: Plan.Site, host: Int) throws {
        let router = try router(of: site)
        let port = "pod\(host)"
        try sandbox.run(
            "ip", "link", "add", "eth0", "netns", namespace.name, "type", "veth", "peer", "name", port, "netns",
            router.name)
        try router.run("ip", "link", "set", port, "master", "lan", "up")
        try namespace.run("ip", "address", "add", "\(site.pod(host))/24", "dev", "eth0")
        try namespace.run("ip", "link", "set", "eth0", "up")
        try namespace.route("default", via: site.insideGateway)
    }

    /// Forgets every NAT binding of a site's router, as a reboot of it does.
    package func flushConntrack(of site: Plan.Site) throws {
        try router(of: site).run("conntrack", "-F")
    }

    /// From now on the sites' routers cannot reach each other, as behind firewalls: only the hub is left.
    package func separateSites() throws {
        for (from, to) in [(Plan.siteA, Plan.siteB), (Plan.siteB, Plan.siteA)] {
            try wan.run(
                "nft", "insert", "rule", "ip", "internet", "forward", "ip", "saddr", from.publicAddress, "ip", "daddr",
                to.publicAddress, "drop")
        }
    }

    /// How many packets with a private address reached the Internet: not 0 means that a NAT leaks.
    package func privatePackets() throws -> Int {
        let text = try wan.run("nft", "list", "counter", "ip", "internet", "private")
        guard let words = text.split(separator: "packets ").last?.split(separator: " "), let count = Int(words[0])
        else {
            throw LabError.unexpected("nft printed \(text)")
        }
        return count
    }

    /// Empty when the sites' networks are unreachable from the Internet, as behind a NAT; else what is wrong.
    package func leaks() throws -> [String] {
        var faults: [String] = []
        for site in Plan.sites {
            for place in [hub, wan] where try place.result(of: ["ip", "route", "get", site.pod(2)]).succeeded {
                faults.append("\(place.name) has a route to \(site.pod(2))")
            }
        }
        if try privatePackets() != 0 { faults.append("packets with private addresses reached the Internet") }
        return faults
    }
}
