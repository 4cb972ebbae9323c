/// The network of every scenario, with all its names and addresses.
///
/// ```
///                                    hub  203.0.113.1
///                                     │
///                                     │ 203.0.113.2
///   pod-a ──────── nat-a ─────────── wan ─────────── nat-b ──────── pod-b
///   10.1.0.2   10.1.0.1 │        .9  (routes) .9        │ 10.2.0.1   10.2.0.2
///                 203.0.113.11               198.51.100.12
/// ```
///
/// `wan` is the Internet: a router that knows the public networks (RFC 5737) and no private one. It is a routed hop
/// between the two NATs, so that time-to-live behaves as it does outside. Nothing here reaches the machine's own network.
///
/// In a far underlay each site has a provider as well, so that four routed hops are between two NATs, as many as a
/// low time-to-live needs to end somewhere between them; and the hub's place has three more addresses for STUN:
///
/// ```
///   pod-a ──── nat-a ──── isp-a ──── wan ──── isp-b ──── nat-b ──── pod-b
///          203.0.113.11   .9  198.18.0.0/24   .9   198.51.100.12
/// ```
package enum Plan {
    package static let hub = "203.0.113.1"
    package static let hubControl = "\(hub):7443"
    package static let hubRelay = "\(hub):3478"
    package static let hubNetwork = "203.0.113.0/30"
    package static let wanTowardsHub = "203.0.113.2"
    /// Further addresses at the hub's place, in a far underlay: a STUN server that can tell mappings apart needs two.
    package static let servers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    package static let serverNetwork = "192.0.2.0/29"
    /// Where relays are that run apart, in a far underlay.
    package static let relays = [hub, "192.0.2.4"]
    package static let stunPorts = [3478, 3479]

    /// One home network: its router's two sides and the addresses of its pods.
    package struct Site: Sendable {
        package let letter: String
        package let publicAddress: String
        package let publicNetwork: String
        package let gateway: String
        /// The first three parts of the private network, a /24.
        package let inside: String

        package var router: String { "nat-\(letter)" }
        package var provider: String { "isp-\(letter)" }
        package var insideNetwork: String { "\(inside).0/24" }
        package var insideGateway: String { "\(inside).1" }
        /// Where the provider's customers are when it shares its public addresses (RFC 6598).
        package var sharedGateway: String { "100.64.\(index).1" }
        package var sharedAddress: String { "100.64.\(index).2" }
        /// Between provider and Internet: `wan` has the first, the provider the second.
        package var transfer: (internet: String, provider: String) {
            ("198.18.0.\(4 * index + 1)", "198.18.0.\(4 * index + 2)")
        }
        /// The public network's addresses but the gateway's, the site's own first.
        package var publicAddresses: [String] {
            guard let dot = publicAddress.lastIndex(of: "."), let last = Int(publicAddress[dot...].dropFirst())
            else { return [publicAddress] }
            let first = last & ~7
            let others = (first + 2...first + 6).filter { $0 != last }.map { "\(publicAddress[..<dot]).\($0)" }
            return [publicAddress] + others
        }
        /// The pods' IPv6 network, routed everywhere in a far underlay; nothing translates it.
        package var insideIPv6: String { "2001:db8:\(index + 1)" }
        package var insideGatewayIPv6: String { "\(insideIPv6)::1" }
        package func podIPv6(_ host: Int) -> String { "\(insideIPv6)::\(host)" }
        /// Between router and provider, and between provider and Internet: the first is nearer to the Internet.
        var linksIPv6: (router: [String], transfer: [String]) {
            let link = "2001:db8:f\(index)"
            return (["\(link):1::1", "\(link):1::2"], ["\(link):2::1", "\(link):2::2"])
        }
        private var index: Int { Int(letter.utf8.first ?? 97) - 97 }
        /// The host'th pod's address, from 2.
        package func pod(_ host: Int) -> String { "\(inside).\(host)" }
    }

    package static let siteA = Site(
        letter: "a", publicAddress: "203.0.113.11", publicNetwork: "203.0.113.8/29", gateway: "203.0.113.9",
        inside: "10.1.0")
    package static let siteB = Site(
        letter: "b", publicAddress: "198.51.100.12", publicNetwork: "198.51.100.8/29", gateway: "198.51.100.9",
        inside: "10.2.0")
    package static let sites = [siteA, siteB]
    /// Where a pod of another site may move to; only in an underlay that asks for it.
    package static let siteC = Site(
        letter: "c", publicAddress: "198.51.100.20", publicNetwork: "198.51.100.16/29", gateway: "198.51.100.17",
        inside: "10.3.0")

    package static let meshName = "demo"
    package static let meshPrefix = "fd77:6172:7265::/48"
    package static let meshIPv4 = "100.96.0.0/16"
    package static let interface = "warren0"
    package static let tunnelPort = 51820
    /// What a node gives its pods, as the plugin is configured.
    static var nodePorts: [String: Any] {
        ["range": "31000-31099", "namespaces": ["default"], "port": tunnelPort]
    }
    /// The uid that owns `warren0` and runs the sidecar, and the one that runs the hub.
    package static let sidecarUID: UInt32 = 64738
    package static let hubUID: UInt32 = 64739

    /// What starts a program without any privilege, as a restricted pod's container runs it.
    package static func unprivileged(uid: UInt32) -> [String] {
        [
            "setpriv", "--reuid", "\(uid)", "--regid", "\(uid)", "--clear-groups", "--no-new-privs",
            "--bounding-set=-all", "--inh-caps=-all",
        ]
    }

    /// The rules of a home router that masquerades: port-preserving, endpoint-independent mapping, address and port
    /// dependent filtering (RFC 4787). What arrives unasked is dropped before it can leave a conntrack entry.
    package static let homeRouter = """
        table ip home {
            chain input {
                type filter hook input priority filter; policy accept;
                iifname "wan" ct state invalid drop
                iifname "wan" ct state new meta l4proto { tcp, udp } drop
            }
            chain forward {
                type filter hook forward priority filter; policy accept;
                ct state invalid drop
                iifname "wan" ct state new ct status & dnat == 0 drop
            }
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                oifname "wan" masquerade
            }
        }

        """

    /// The Internet carries no private address; what tries is counted.
    package static let internet = """
        table ip internet {
            counter private { }
            chain forward {
                type filter hook forward priority filter; policy accept;
                ip saddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 } counter name private drop
                ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 } counter name private drop
            }
        }

        """
}
