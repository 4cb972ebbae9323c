/// A site whose router can be made any kind of NAT, again and again. Not safe for concurrent use.
package final class SiteNetwork {
    package let underlay: Underlay
    package let site: Plan.Site
    package let router: Namespace
    package let provider: Namespace
    package private(set) var current: NATClass?

    /// - Parameter underlay: a far one.
    package init(_ underlay: Underlay, _ site: Plan.Site) throws {
        self.underlay = underlay
        self.site = site
        router = try underlay.router(of: site)
        provider = try underlay.provider(of: site)
    }

    /// What a sidecar behind this router has to be told.
    package var sidecarEnvironment: [String: String] { [:] }

    /// Makes the site's router a NAT of that class; no binding of the one before is left.
    package func install(_ nat: NATClass) throws {
        current = nil
        try setAddresses(isShared: nat.provider != nil)
        let inside = nat.provider == nil ? site.publicAddresses : [site.sharedAddress]
        let sides = RouterSides(insideLink: "lan", addresses: inside, host: site.pod(2))
        try router.load(rules: nat.router.rules(sides))
        if let outer = nat.provider {
            let sides = RouterSides(
                insideLink: "customer", addresses: [site.publicAddress], host: site.sharedAddress)
            try provider.load(rules: outer.rules(sides))
        } else {
            try provider.run("nft", "flush", "ruleset")
        }
        current = nat
        try forget()
    }

    /// Loses every binding, as a reboot of both routers does.
    package func forget() throws {
        try router.run("conntrack", "-F")
        if current?.provider != nil { try provider.run("conntrack", "-F") }
    }

    /// A reboot after which the outside ports are others. Only of a class that rewrites ports.
    package func reboot(seed: Int) throws {
        let sides = RouterSides(insideLink: "lan", addresses: site.publicAddresses, host: site.pod(2))
        try router.load(rules: Recipe.rewritten(seed: seed).rules(sides))
        try forget()
    }

    /// The public addresses are the router's, or the provider's when it shares them.
    private func setAddresses(isShared: Bool) throws {
        let own = isShared ? ["\(site.sharedAddress)/24"] : site.publicAddresses.map { "\($0)/29" }
        try router.batch(
            ["address flush dev wan"] + own.map { "address add \($0) dev wan" }
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
