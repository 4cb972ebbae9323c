import Addressing

/// Our table in the words of nf_tables: what of it is always the same.
///
///     table ip warren {
///       map outbound { type ipv4_addr . inet_service : inet_service }   pod . port : node port
///       map inbound  { type inet_service : ipv4_addr . inet_service }   node port : pod . port
///       set closed   { type inet_service; timeout 5m }                  node ports that lost their pod
///       set except   { type ipv4_addr; flags interval }                 destinations that see pods as they are
///       chain srcnat { type nat hook postrouting priority srcnat - 1
///         meta l4proto udp ip daddr != @except masquerade to :ip saddr . udp sport map @outbound }
///       chain dstnat { type nat hook prerouting priority dstnat - 1
///         fib daddr type local dnat ip to udp dport map @inbound }
///       chain input  { type filter hook input priority filter
///         ct state new udp dport @closed drop }
///     }
///
/// A pod is one element in each map: it comes and goes by key, and the rules never change. Both chains are one before
/// the node's own NAT (kube-proxy's, the primary plugin's): the first to translate a connection is the only one. What the
/// maps don't have falls through to it. `masquerade` takes the address of the link that a packet leaves by, so that the
/// node's need not be known and may change; without `random` a port that is taken for a destination is not exchanged for
/// another, but the packet dropped, as it must be: another port is one that nobody was told of.
///
/// The third rule is for the time in which a port has no pod. A former peer goes on sending to it for minutes; each of its
/// packets that reached the node itself would leave a conntrack entry for (peer, port), and the next pod's first packet to
/// that peer would find its port taken. So such packets are dropped before they leave one. Only ports that had a pod lately
/// are closed: other programs of the node may use the rest of the range, where they were first.
///
/// IPv6 has no part in it: nodes do not translate it, so that pods have addresses that others can send to.
enum Ruleset {
    static let table = "warren"
    static let outbound = "outbound"
    static let inbound = "inbound"
    static let closed = "closed"
    static let except = "except"
    /// Longer than WireGuard tries to reach a peer, and than any UDP entry without traffic lives.
    static let closedFor: UInt64 = 300_000

    struct Chain {
        let name: String
        let type: String
        /// NF_INET_…
        let hook: UInt32
        let priority: Int32
        let rule: [Expression]
    }

    private static let udp: [Expression] = [.metaProtocol, .compare(isEqual: true, [17])]

    static let chains = [
        Chain(
            name: "srcnat", type: "nat", hook: 4, priority: 99,
            rule: udp + [
                .payload(base: Expression.networkHeader, offset: 16, length: 4, register: 0),
                .lookup(except, isInverted: true),
                .payload(base: Expression.networkHeader, offset: 12, length: 4, register: 0),
                .payload(base: Expression.transportHeader, offset: 0, length: 2, register: 1),
                .lookup(outbound, isMap: true), .masqueradeToPort,
            ]),
        Chain(
            name: "dstnat", type: "nat", hook: 0, priority: -101,
            rule: [.destinationType, .compare(isEqual: true, hostOrder(2))] + udp + [  // RTN_LOCAL
                .payload(base: Expression.transportHeader, offset: 2, length: 2, register: 0),
                .lookup(inbound, isMap: true), .translateDestination,
            ]),
        Chain(
            name: "input", type: "filter", hook: 1, priority: 0,
            rule: [.connectionState, .mask(8), .compare(isEqual: false, hostOrder(0))] + udp + [  // new
                .payload(base: Expression.transportHeader, offset: 2, length: 2, register: 0),
                .lookup(closed), .drop,
            ]),
    ]

    /// A map or set.
    struct Set {
        let name: String
        /// nft's numbers of types: 7 ipv4_addr, 13 inet_service; six bits a part of a concatenation.
        let key: (type: UInt32, length: UInt32)
        var value: (type: UInt32, length: UInt32)?
        var isInterval = false
        var timeout: UInt64?
    }

    private static let address: (type: UInt32, length: UInt32) = (7, 4)
    private static let port: (type: UInt32, length: UInt32) = (13, 2)
    /// Each part of a concatenation begins at a multiple of four bytes.
    private static let endpoint: (type: UInt32, length: UInt32) = (7 << 6 | 13, 8)

    static let sets = [
        Set(name: outbound, key: endpoint, value: port), Set(name: inbound, key: port, value: endpoint),
        Set(name: closed, key: port, timeout: closedFor), Set(name: except, key: address, isInterval: true),
    ]
}

/// An element of a map or set.
struct Element: Hashable, Sendable {
    let key: [UInt8]
    var value: [UInt8]?
    /// The first address after an interval.
    var isEnd = false
}

extension NodePort {
    private var endpoint: [UInt8] { pod.bytes + networkOrder(podPort) + [0, 0] }
    var outbound: Element { Element(key: endpoint, value: networkOrder(number)) }
    var inbound: Element { Element(key: networkOrder(number), value: endpoint) }
    var closed: Element { Element(key: networkOrder(number)) }
}

extension PortPlan {
    /// The exceptions as an interval set has them: each beginning and end, after an end at the very beginning.
    var exceptElements: [Element] {
        var elements: [Element] = []
        for prefix in exceptions {
            guard case .v4(let first) = prefix.address else { continue }
            let end = UInt64(first.value) + (1 << UInt64(32 - prefix.length))
            elements.append(Element(key: first.bytes))
            if end <= UInt64(UInt32.max) {
                elements.append(Element(key: IPv4Address(value: UInt32(end)).bytes, isEnd: true))
            }
        }
        let zero = IPv4Address.any.bytes
        return elements.contains { $0.key == zero } ? elements : [Element(key: zero, isEnd: true)] + elements
    }
}
