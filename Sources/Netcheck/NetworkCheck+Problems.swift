import Control

extension NetworkCheck {
    /// What stands in the way, most important first, each with what to do.
    func problems(of report: NetcheckReport) -> [String] {
        var problems: [String] = []
        if let portal = report.captivePortal {
            problems.append("captive portal: log in at \(portal), then try again")
        }
        if let issuer = report.interceptingProxy {
            problems.append(
                """
                intercepting proxy: somebody opens TLS in between, with a certificate issued by \(issuer); exempt the hub's \
                and relays' addresses there
                """)
        }
        if let hub = report.hub, !hub.isReachable, hub.state != "intercepted" {
            problems.append("hub \(hub.address): \(hub.words)")
        }
        for relay in report.relays where !relay.isReachable {
            let address = relay.udp.first?.address ?? relay.tls?.address ?? relay.id
            problems.append("relay \(address): not reachable in any way; allow UDP to it, or TLS")
        }
        if let ipv4 = report.ipv4, !ipv4.udp {
            problems.append(
                "UDP is blocked: no direct paths over IPv4; allow UDP to anywhere, or peers are reached by relays")
        } else if report.ipv4?.mapping?.hasPrefix("address") == true,
            report.ipv4?.filtering == "address and port-dependent",
            !report.portMapping.contains(where: { $0.state == "found" })
        {
            problems.append(
                """
                the NAT gives each destination another port: peers behind the same kind are reached by relays; allow port \
                mapping (PCP, NAT-PMP or UPnP) on it, or map a port
                """)
        }
        if let proxy = report.relays.compactMap(\.proxy).first(where: { $0.state.hasPrefix("proxy") }) {
            problems.append("proxy \(report.proxy ?? ""): \(proxy.detail ?? proxy.state)")
        }
        return problems
    }
}

extension ReachReport {
    /// The state in a person's words.
    package var words: String {
        switch state {
        case "reachable": detail.map { "reachable \($0)" } ?? "reachable"
        case "refused": "refuses connections"
        case "timeout": "no answer in time"
        case "no-address": "its name has no address in DNS"
        case "not-tls": "answers, but not in TLS: \(detail ?? "")"
        default: detail ?? state
        }
    }
}
