import Addressing
import CNftnl
import Glibc
import Linux
import Netlink
import TestSupport
import Testing

@testable import NodePorts

/// What conntrack remembers, with hundred thousand entries beside it. Needs root.
@Suite struct StaleFlowTests {
    @Test(.timeLimit(.minutes(2)))
    func `three of hundred thousand flows are found and forgotten`() throws {
        let lab = try RandomNode()
        let port = try lab.assign(0, try PortPlan(range: 31007...31007, podPort: 51820))
        let peers = try [1, 2, 3].map { try Datagrams(in: lab.outside, "203.0.113.\($0)", port: 41641) }
        let sidecar = try Datagrams(in: lab.pods[0], port: 51820)
        for number in 1...3 { try sidecar.send("hello", to: "203.0.113.\(number)", 41641) }
        for peer in peers { #expect(peer.receive()?.port == 31007) }
        // The node's own, to itself: an entry for each port of four destinations.
        let local = try Datagrams(in: lab.node.place, port: 40000)
        for number in 1...4 {
            for target in 1...25_000 { try local.send("", to: "127.0.0.\(number)", UInt16(target)) }
        }
        let count = try lab.count()
        #expect(count > 100_000)
        let start = ContinuousClock.now
        #expect(try lab.forget(port) == 3)
        print("forgot 3 of \(count) flows in \(ContinuousClock.now - start)")
        #expect(try lab.count() >= count - 3 - 200)
        for number in 1...3 { try sidecar.send("hello", to: "203.0.113.\(number)", 41641) }
        for peer in peers { #expect(peer.receive()?.port == 31007) }
    }

    @Test func `a kernel that does not filter shows all, of which only what is meant is taken`() throws {
        let lab = try RandomNode()
        let port = try lab.assign(0, try PortPlan(range: 31007...31007, podPort: 51820))
        let sockets = try [(0, 51820), (0, 40000), (1, 51820)].map { pod, port in
            try Datagrams(in: lab.pods[pod], port: UInt16(port))
        }
        for socket in sockets { try socket.send("hello", to: "203.0.113.3", 31007) }
        let taken = try lab.node.place.run {
            var socket = try RouteSocket(NETLINK_NETFILTER)
            var header = nfgenmsg()
            header.nfgen_family = UInt8(AF_INET)
            let type = UInt32(NFNL_SUBSYS_CTNETLINK) << 8 | UInt32(IPCTNL_MSG_CT_GET.rawValue)
            let all = try socket.request(Message(type, flags: NLM_F_DUMP, header: header), "list").compactMap(Flow.init)
            #expect(all.count == 3)
            let own = try #require(IPv4Address(RandomNode.address))
            return StaleFlows(port, ownAddresses: [own]).questions.map { all.filter($0.isMeant).map(\.original.source) }
        }
        let pod = IPv4Address(10, 1, 0, 2)
        #expect(taken == [[pod], [], [pod]])
    }
}

extension RandomNode {
    /// How many entries conntrack has here.
    func count() throws -> Int {
        let text = try Command.run(["cat", "/proc/sys/net/netfilter/nf_conntrack_count"], in: node.place.path)
        return try #require(Int(text.filter(\.isNumber)))
    }
}
