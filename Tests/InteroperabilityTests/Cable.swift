import Lab

/// Two namespaces with a veth pair between them, with addresses of both families.
struct Cable {
    /// One side: its namespace and its addresses on the cable.
    struct Side {
        let namespace: Namespace
        let ipv4: String
        let ipv6: String

        /// `ADDRESS:PORT` as `wg` writes it.
        func endpoint(_ port: UInt16, isIPv6: Bool = false) -> String {
            isIPv6 ? "[\(ipv6)]:\(port)" : "\(ipv4):\(port)"
        }
    }

    static let link = "eth0"

    let sandbox: Sandbox
    let a: Side
    let b: Side

    init(in sandbox: Sandbox) throws {
        self.sandbox = sandbox
        a = Side(namespace: try sandbox.namespace("a"), ipv4: "192.0.2.1", ipv6: "2001:db8::1")
        b = Side(namespace: try sandbox.namespace("b"), ipv4: "192.0.2.2", ipv6: "2001:db8::2")
        try sandbox.run(
            "ip", "link", "add", Self.link, "netns", a.namespace.name, "type", "veth", "peer", "name", Self.link,
            "netns", b.namespace.name)
        for side in [a, b] {
            try addAddress(side.ipv4, to: side)
            try addAddress(side.ipv6, to: side)
            try side.namespace.run("ip", "link", "set", Self.link, "up")
        }
    }

    /// Adds an address to a side's end of the cable; usable at once.
    func addAddress(_ address: String, to side: Side) throws {
        if address.contains(":") {
            try side.namespace.run("ip", "address", "add", "\(address)/64", "dev", Self.link, "nodad")
        } else {
            try side.namespace.run("ip", "address", "add", "\(address)/24", "dev", Self.link)
        }
    }

    func removeAddress(_ address: String, from side: Side) throws {
        let length = address.contains(":") ? 64 : 24
        try side.namespace.run("ip", "address", "del", "\(address)/\(length)", "dev", Self.link)
    }
}
