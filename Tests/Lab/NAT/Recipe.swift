package import NATBox

/// How a router translates, as rules for nftables.
package enum Recipe: Sendable, Equatable {
    case oneToOne
    case fullCone, hairpin, restrictedCone, portRestricted, poisonProne
    /// The outside port is a hash of the inside one; another seed gives others, as a reboot does.
    case rewritten(seed: Int)
    case shortLived(seconds: Int)
    case lossy(percent: Int)
    case nodeMapped(port: Int)
    /// A Kubernetes node as many clouds have it: any port for each destination, and what comes for the node itself is
    /// accepted.
    case node
    case symmetric, symmetricWithIPv6, symmetricFullCone, symmetricRestricted, sequential, addressDependent, pool
    case portRange(ClosedRange<Int>)
    case udpBlocked, only443
    /// The userspace NAT, in the router's place.
    case userspace(BoxBehaviour)
    /// Nothing but TCP to the router itself, where a proxy serves it.
    case proxyOnly
    /// Every plain HTTP request is answered by the router, and nothing else gets anywhere.
    case captivePortal
    /// TCP to port 443 ends at the router, which speaks TLS with a certificate of its own.
    case interceptingProxy
}

/// Where a recipe is carried out: a router's two sides.
struct RouterSides {
    /// The link towards the Internet is always `wan`.
    let insideLink: String
    /// The outside addresses, the one that is always used first.
    let addresses: [String]
    /// The one host that static mappings are for.
    let host: String

    var address: String { addresses[0] }
}

extension Recipe {
    /// The whole ruleset of a router that is `sides`.
    ///
    /// What arrives unasked is dropped on input, before it can leave a conntrack entry, but for the poison-prone.
    func rules(_ sides: RouterSides) -> String {
        let parts = self.parts(sides)
        return """
            table ip lab {
            \(parts.declarations)
                chain early {
                    type filter hook prerouting priority -150; policy accept;
                    \(parts.early)
                }
                chain input {
                    type filter hook input priority filter; policy accept;
                    \(self == .poisonProne || self == .node ? "" : #"iifname "wan" ct state new meta l4proto { tcp, udp } drop"#)
                }
                chain forward {
                    type filter hook forward priority filter; policy accept;
                    ct state invalid drop
                    \(parts.forward)
                    iifname "wan" ct state new ct status & dnat == 0 drop
                }
                chain prerouting {
                    type nat hook prerouting priority dstnat; policy accept;
                    \(parts.destination)
                }
                chain postrouting {
                    type nat hook postrouting priority srcnat; policy accept;
                    \(parts.source)
                    oifname "wan" snat to \(sides.address)
                }
                chain learn {
                    type filter hook postrouting priority 300; policy accept;
                    \(parts.learn)
                }
            }

            """
    }

    /// What a firewall for IPv6 lets in: answers, and ICMPv6 that neighbours need.
    static let firewallIPv6 = """
        table ip6 lab {
            chain input {
                type filter hook input priority filter; policy accept;
                iifname "wan" ct state new meta l4proto { tcp, udp } drop
            }
            chain forward {
                type filter hook forward priority filter; policy accept;
                ct state invalid drop
                iifname "wan" ct state new drop
            }
        }

        """

    /// Statements for the places in which recipes differ.
    private struct Parts {
        var declarations = ""
        var early = ""
        var forward = ""
        var destination = ""
        var source = ""
        var learn = ""
    }

    private func parts(_ sides: RouterSides) -> Parts {
        let wide = "snat to \(sides.address)"
        var parts = Parts()
        switch self {
        case .portRestricted, .poisonProne: break
        case .oneToOne: parts.destination = #"iifname "wan" dnat to \#(sides.host)"#
        case .rewritten(let seed): parts.source = udp("\(wide):\(hash("ip saddr . udp sport", seed: seed))")
        case .addressDependent: parts.source = udp("\(wide):\(hash("ip saddr . udp sport . ip daddr", seed: 1))")
        case .symmetric, .symmetricWithIPv6, .node: parts.source = udp("\(wide) fully-random")
        case .portRange(let range):
            parts.source = udp("\(wide):\(range.lowerBound)-\(range.upperBound) fully-random")
        case .sequential:
            // A bare `numgen` would be byte-swapped on its way into the port: a map's values are not. So many that the
            // openers of one attempt do not go round.
            let ports = (0..<40000).map { "\($0) : \(20000 + $0)" }.joined(separator: ", ")
            parts.source = udp("\(wide):numgen inc mod 40000 map { \(ports) }")
        case .pool:
            let pool = sides.addresses.prefix(4).enumerated().map { "\($0) : \($1)" }.joined(separator: ", ")
            parts.source = udp("snat to jhash ip saddr . ip daddr . udp dport mod 4 seed 0x7 map { \(pool) }")
        case .fullCone, .hairpin, .restrictedCone, .symmetricFullCone, .symmetricRestricted:
            learn(sides, into: &parts)
        case .shortLived(let seconds):
            parts.declarations = """
                ct timeout short { protocol udp; l3proto ip; policy = { unreplied : \(seconds), replied : \(seconds) }; }
                """
            parts.early = #"meta l4proto udp ct timeout set "short""#
        case .lossy(let percent): parts.forward = "meta l4proto udp numgen random mod 100 < \(percent) drop"
        case .nodeMapped(let port):
            let pod = "\(sides.host):\(Plan.tunnelPort)"
            parts.destination = #"iifname "wan" udp dport \#(port) dnat to \#(pod)"#
            parts.source = """
                oifname "wan" ip saddr \(sides.host) udp sport \(Plan.tunnelPort) \(wide):\(port)
                \(udp("\(wide) fully-random"))
                """
        case .udpBlocked: parts.forward = "meta l4proto udp drop"
        case .userspace: break
        case .proxyOnly: parts.forward = #"oifname "wan" drop"#
        case .captivePortal:
            parts.forward = #"oifname "wan" drop"#
            parts.destination = """
                iifname "\(sides.insideLink)" tcp dport 80 redirect to :\(LabService.portalPort)
                iifname "\(sides.insideLink)" tcp dport 443 redirect to :\(LabService.portalTLSPort)
                """
        case .interceptingProxy:
            parts.forward = "meta l4proto udp drop"
            parts.destination =
                "iifname \"\(sides.insideLink)\" tcp dport 443 redirect to :\(LabService.interceptorPort)"
        case .only443:
            parts.forward = #"meta l4proto != icmp oifname "wan" tcp dport != 443 drop; meta l4proto udp drop"#
        }
        return parts
    }

    /// Whether its rules note mappings in a map of their own, which connection tracking does not empty.
    var learns: Bool {
        switch self {
        case .fullCone, .hairpin, .restrictedCone, .symmetricFullCone, .symmetricRestricted: true
        default: false
        }
    }

    /// Every mapping that an inside host makes is noted, and what comes for it is let in: from anybody, or from the
    /// addresses that the host has sent to.
    private func learn(_ sides: RouterSides, into parts: inout Parts) {
        let isByAddress = self == .restrictedCone || self == .symmetricRestricted
        let key = isByAddress ? "ipv4_addr . inet_service" : "inet_service"
        parts.declarations = """
            map mappings { type \(key) : ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; }
            """
        let outgoing = isByAddress ? "ip daddr . udp sport" : "udp sport"
        parts.learn = """
            oifname "wan" meta l4proto udp ct direction original \
            update @mappings { \(outgoing) : ct original ip saddr . ct original proto-src }
            """
        let incoming = isByAddress ? "ip saddr . udp dport" : "udp dport"
        let side = self == .hairpin ? "ip daddr \(sides.address)" : #"iifname "wan""#
        parts.destination = "\(side) meta l4proto udp dnat ip to \(incoming) map @mappings"
        switch self {
        case .symmetricFullCone, .symmetricRestricted: parts.source = udp("snat to \(sides.address) fully-random")
        case .hairpin:
            parts.source =
                #"oifname "\#(sides.insideLink)" ip saddr 10.0.0.0/8 ct status dnat snat to \#(sides.address)"#
        default: break
        }
    }

    private func udp(_ statement: String) -> String { #"oifname "wan" meta l4proto udp "# + statement }

    /// A port of 40,000 that a hash chooses.
    private func hash(_ key: String, seed: Int) -> String { "jhash \(key) mod 40000 seed \(seed) offset 20000" }
}
