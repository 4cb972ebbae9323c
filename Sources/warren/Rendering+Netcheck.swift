import Control
import Netcheck

extension Rendering {
    /// One page for a person: what there is, then what stands in the way.
    static func page(_ report: NetcheckReport) -> String {
        var lines = [
            (
                "this host",
                (report.addresses.isEmpty ? "no address" : report.addresses.joined(separator: "  "))
                    + (report.gateway.map { ", gateway \($0)" } ?? ", no default gateway")
            )
        ]
        for (name, nat) in [("IPv4", report.ipv4), ("IPv6", report.ipv6)] {
            guard let nat else {
                if name == "IPv4" { lines.append((name, "not looked at: no STUN server is known")) }
                continue
            }
            lines.append(("UDP over \(name)", nat.udp ? "works" : "blocked: no STUN server answered"))
            guard nat.udp else { continue }
            lines.append(("  seen from outside as", nat.mapped.joined(separator: "  ")))
            lines += behavior(nat)
        }
        if !report.portMapping.isEmpty {
            lines.append(("port mapping", report.portMapping.map(words).joined(separator: "; ")))
        }
        if let hub = report.hub { lines.append(("hub \(hub.address)", "TLS \(reach(hub))")) }
        for relay in report.relays {
            for endpoint in relay.udp { lines.append(("relay \(endpoint.address)", "UDP \(reach(endpoint))")) }
            if let tls = relay.tls { lines.append(("  \(tls.address)", "TLS \(reach(tls))")) }
            if let proxy = relay.proxy { lines.append(("  through the proxy", "TLS \(reach(proxy))")) }
        }
        if let proxy = report.proxy { lines.append(("proxy", proxy)) }
        lines.append(("captive portal", report.captivePortal.map { "yes: \($0)" } ?? "none seen"))
        lines.append(
            ("intercepting proxy", report.interceptingProxy.map { "yes: certificates by \($0)" } ?? "none seen"))
        let width = lines.map(\.0.count).max() ?? 0
        var text = lines.map { padded($0.0, width) + "  " + $0.1 }.joined(separator: "\n")
        text += "\n" + padded("took", width) + "  \((report.seconds * 10).rounded() / 10) s"
        if !report.problems.isEmpty {
            text += "\n\nproblems\n" + report.problems.map { "  - \($0)" }.joined(separator: "\n")
        }
        return text
    }

    private static func behavior(_ nat: NATReport) -> [(String, String)] {
        guard nat.isTranslated == true else {
            let filter = nat.filtering.map { "\($0) filtering" } ?? "filtering not known"
            return [("  NAT", nat.isTranslated == false ? "none, \(filter)" : "not known")]
        }
        return [
            ("  NAT mapping", nat.mapping ?? "not known: two servers are needed"),
            ("  NAT filtering", nat.filtering ?? "not known: a server with two addresses (RFC 5780) is needed"),
            (
                "  port allocation",
                (nat.allocation ?? "not known") + (nat.pooling == "arbitrary" ? ", arbitrary address pooling" : "")
            ),
        ]
    }

    private static func words(_ mapping: PortMappingReport) -> String {
        switch mapping.state {
        case "found": "\(mapping.name) found" + (mapping.external.map { " (\($0))" } ?? "")
        case "refused": "\(mapping.name) refused: \(mapping.detail ?? "")"
        default: "\(mapping.name) no answer"
        }
    }

    private static func reach(_ reach: ReachReport) -> String {
        guard reach.isReachable else { return reach.words }
        let time = (reach.rttMs ?? 0) * 10
        return "\(time.rounded() / 10) ms" + (reach.detail.map { ", \($0)" } ?? "")
    }
}
