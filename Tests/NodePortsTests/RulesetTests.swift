import Addressing
import Linux
import Netlink
import TestSupport
import Testing

@testable import NodePorts

/// What libnftnl makes of the rules beside what nft makes of their text. Needs root.
@Suite struct RulesetTests {
    private static let text = """
        table ip warren {
        	map outbound {
        		type ipv4_addr . inet_service : inet_service
        		elements = { 10.1.0.2 . 51820 : 31001, 10.1.0.3 . 51820 : 31002 }
        	}

        	map inbound {
        		type inet_service : ipv4_addr . inet_service
        		elements = { 31001 : 10.1.0.2 . 51820, 31002 : 10.1.0.3 . 51820 }
        	}

        	set closed {
        		type inet_service
        		timeout 5m
        	}

        	set except {
        		type ipv4_addr
        		flags interval
        		elements = { 10.0.0.0/8, 192.168.0.0/16 }
        	}

        	chain srcnat {
        		type nat hook postrouting priority srcnat - 1; policy accept;
        		meta l4proto udp ip daddr != @except masquerade to :ip saddr . udp sport map @outbound
        	}

        	chain dstnat {
        		type nat hook prerouting priority dstnat - 1; policy accept;
        		fib daddr type local dnat ip to udp dport map @inbound
        	}

        	chain input {
        		type filter hook input priority filter; policy accept;
        		ct state new udp dport @closed drop
        	}
        }

        """

    private static let ports = [
        NodePort(31001, pod: IPv4Address(10, 1, 0, 2), podPort: 51820),
        NodePort(31002, pod: IPv4Address(10, 1, 0, 3), podPort: 51820),
    ]

    private func plan(_ exceptions: String...) throws -> PortPlan {
        try PortPlan(range: 31000...31999, podPort: 51820, exceptions: exceptions.compactMap { IPPrefix($0) })
    }

    @Test func `nft lists our table as its text`() throws {
        let (node, plan) = (try Node(), try plan("10.0.0.0/8", "192.168.0.0/16"))
        try node.place.run { try PortTable().install(plan, Self.ports) }
        #expect(try Self.sorted(node.nft("list", "ruleset")) == Self.sorted(Self.text))
    }

    @Test func `the kernel has the same instructions and bytes as from nft`() throws {
        let (ours, theirs) = (try Node(), try Node())
        let plan = try plan("10.0.0.0/8", "192.168.0.0/16")
        try ours.place.run { try PortTable().install(plan, Self.ports) }
        try theirs.nft("-f", "-", input: Self.text)
        func instructions(_ node: Node) throws -> [String] {
            let text = try node.nft("--debug=netlink", "list", "ruleset")
            // `ip warren srcnat 8` names the rule's handle, which counts what was made before.
            return text.split(separator: "\n").map(String.init)
                .filter { $0.contains("[") && !$0.hasPrefix("\t") }.sorted()
        }
        let expected = try instructions(theirs)
        #expect(expected.count > 20)
        #expect(try instructions(ours) == expected)
    }

    @Test func `made twice it is there once, with what the second says`() throws {
        let node = try Node()
        let (first, second) = (try plan("10.0.0.0/8"), try plan("10.0.0.0/8", "192.168.0.0/16"))
        try node.place.run {
            let table = try PortTable()
            try table.install(first, [NodePort(31009, pod: IPv4Address(10, 1, 0, 9), podPort: 51820)])
            try table.install(second, Self.ports)
        }
        #expect(try Self.sorted(node.nft("list", "ruleset")) == Self.sorted(Self.text))
    }

    @Test func `exceptions at the ends of the address space, inside one another and next to one another`() throws {
        let node = try Node()
        let plan = try plan("0.0.0.0/8", "1.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8", "240.0.0.0/4", "198.51.100.7/32")
        try node.place.run { try PortTable().install(plan, []) }
        #expect(
            try node.elements(of: "except") == ["0.0.0.0/8", "1.0.0.0/8", "10.0.0.0/8", "198.51.100.7", "240.0.0.0/4"])
    }

    @Test func `elements come and go by key, twice as once, also where there is no table`() throws {
        let (node, plan) = (try Node(), try plan("10.0.0.0/8"))
        let port = Self.ports[0]
        try node.place.run {
            let table = try PortTable()
            try table.remove(port)
            try table.removeAll()
            #expect(throws: NetlinkError.self) { try table.insert(port) }
            try table.install(plan, [])
            for _ in 0..<2 { try table.insert(port) }
        }
        #expect(try node.elements(of: "outbound") == ["10.1.0.2 . 51820 : 31001"])
        #expect(try node.elements(of: "inbound") == ["31001 : 10.1.0.2 . 51820"])
        try node.place.run { for _ in 0..<2 { try PortTable().remove(port) } }
        #expect(try node.elements(of: "outbound").isEmpty && node.elements(of: "inbound").isEmpty)
        #expect(try node.elements(of: "closed").count == 1)
        try node.place.run { for _ in 0..<2 { try PortTable().removeAll() } }
        #expect(try node.nft("list", "ruleset").isEmpty)
    }

    @Test func `what the kernel refuses is named`() throws {
        let (node, plan) = (try Node(), try plan("10.0.0.0/8"))
        try node.place.run {
            let table = try PortTable()
            try table.install(plan, [Self.ports[0]])
            let other = NodePort(31005, pod: Self.ports[0].pod, podPort: 51820)
            let error = #expect(throws: NetlinkError.self) { try table.insert(other) }
            #expect(error?.description.hasPrefix("map node port 31005 of 10.1.0.2:51820: ") == true)
            #expect(error?.errno == .exists || error?.errno == .busy)
        }
    }

    /// nft prints elements in an order of its own.
    private static func sorted(_ text: String) -> String {
        text.replacing(",\n", with: ",").split(separator: "\n", omittingEmptySubsequences: false).map { line in
            guard line.contains("elements = {") else { return String(line) }
            let list = line.split(separator: "{")[1].prefix { $0 != "}" }
            let elements = list.split(separator: ",").map { String($0.trimming()) }.sorted()
            return "elements = \(elements)"
        }.joined(separator: "\n")
    }
}
