import Addressing
import Gather
import Lab
import Linux
import STUN
import Testing

/// A host behind a NAT, and a place with two addresses outside:
///
/// ```
///   host 10.1.0.2  eth0 ─── lan 10.1.0.1  nat  203.0.113.11 wan ─── eth0  203.0.113.1, 203.0.113.2  outside
/// ```
struct NATBench {
    static let first = "203.0.113.1"
    static let second = "203.0.113.2"
    static let router = "203.0.113.11"
    static let gateway = "10.1.0.1"
    static let hostAddress = "10.1.0.2"

    let sandbox: Sandbox
    let host: Namespace
    let nat: Namespace
    let outside: Namespace

    init(in sandbox: Sandbox) throws {
        self.sandbox = sandbox
        host = try sandbox.namespace("host")
        nat = try sandbox.namespace("nat")
        outside = try sandbox.namespace("outside")
        try host.connect("eth0", "\(Self.hostAddress)/24", to: nat, "lan", "\(Self.gateway)/24")
        try nat.connect("wan", "\(Self.router)/24", to: outside, "eth0", "\(Self.first)/24")
        try outside.run("ip", "address", "add", "\(Self.second)/24", "dev", "eth0")
        try host.route("default", via: Self.gateway)
        try nat.forward()
    }

    /// A kind of NAT, as nftables makes it, and what it is called.
    struct Kind: CustomTestStringConvertible, Sendable {
        let mapping: MappingBehavior
        let filtering: FilteringBehavior
        let allocation: PortAllocation?
        let rules: String

        var testDescription: String { "\(mapping.rawValue) mapping, \(filtering.rawValue) filtering" }
    }

    func become(_ kind: Kind) throws {
        try nat.load(rules: Self.closed + kind.rules)
        _ = try nat.result(of: ["conntrack", "-F"])
    }

    /// What arrives unasked is dropped before it can leave a conntrack entry.
    static let closed = """
        table ip guard {
            chain input {
                type filter hook input priority filter; policy accept;
                iifname "wan" ct state new meta l4proto udp drop
            }
            chain forward {
                type filter hook forward priority filter; policy accept;
                iifname "wan" ct state new ct status & dnat == 0 drop
            }
        }

        """

    private static func translate(_ source: String, destination: String = "") -> String {
        """
        table ip nat {
            map cone { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; }
            map restricted {
                type ipv4_addr . inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s;
            }
            chain learn {
                type filter hook postrouting priority 300; policy accept;
                oifname "wan" update @cone { udp sport : ct original ip saddr . ct original proto-src }
                oifname "wan" update @restricted { ip daddr . udp sport : ct original ip saddr . ct original proto-src }
            }
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                \(destination)
            }
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                oifname "wan" meta l4proto udp \(source)
                oifname "wan" masquerade
            }
        }

        """
    }

    private static let cone = #"iifname "wan" dnat ip to udp dport map @cone"#
    private static let restricted = #"iifname "wan" dnat ip to ip saddr . udp dport map @restricted"#

    static let kinds = [
        Kind(
            mapping: .endpointIndependent, filtering: .addressAndPortDependent, allocation: .preserving,
            rules: translate("masquerade")),
        Kind(
            mapping: .endpointIndependent, filtering: .endpointIndependent, allocation: .preserving,
            rules: translate("masquerade", destination: cone)),
        Kind(
            mapping: .endpointIndependent, filtering: .addressDependent, allocation: .preserving,
            rules: translate("masquerade", destination: restricted)),
        Kind(
            mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random,
            rules: translate("masquerade fully-random")),
        Kind(
            mapping: .addressAndPortDependent, filtering: .endpointIndependent, allocation: .random,
            rules: translate("masquerade fully-random", destination: cone)),
        Kind(
            mapping: .addressDependent, filtering: .addressAndPortDependent, allocation: .random,
            rules: translate(
                "snat to \(router):jhash ip saddr . udp sport . ip daddr mod 40000 seed 0x1 offset 20000")),
        Kind(
            mapping: .addressAndPortDependent, filtering: .addressAndPortDependent,
            allocation: .block(lowest: 20_000, highest: 20_063),
            rules: translate("snat to \(router):20000-20063 fully-random")),
        Kind(
            mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .sequential(step: 1),
            rules: translate(
                "snat to \(router):numgen inc mod 128 map { "
                    + (0..<128).map { "\($0) : \(30_000 + $0)" }.joined(separator: ", ") + " }")),
    ]

    /// What our own discovery says, from the host.
    func discover(port: UInt16 = 3478) throws -> BehaviorReport {
        guard let server = Endpoint("\(Self.first):\(port)"), let own = IPAddress(Self.hostAddress) else {
            throw LabError.unexpected("no endpoint")
        }
        return try NetworkNamespace(path: host.path).run {
            try BehaviorProbe.run(servers: [server], hostAddresses: [own])
        }
    }
}

/// A bench, taken down afterwards with all that runs there, whatever happens.
func withNATBench(_ body: (NATBench) throws -> Void) throws {
    let sandbox = try Sandbox.unique()
    Interruption.cleanUp { sandbox.tearDown() }
    defer { sandbox.tearDown() }
    try body(try NATBench(in: sandbox))
    sandbox.tearDown()
    #expect(Sandbox.remains(of: sandbox.name) == [])
}
