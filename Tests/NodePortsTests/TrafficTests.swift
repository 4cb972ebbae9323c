import Addressing
import TestSupport
import Testing

@testable import NodePorts

/// Packets through a node with a random NAT. Needs root.
@Suite struct TrafficTests {
    private let plan: PortPlan
    private static let servers: [(address: String, port: UInt16)] = [
        ("203.0.113.1", 3478), ("203.0.113.1", 3479), ("203.0.113.2", 3478), ("203.0.113.3", 3479),
    ]

    init() throws { plan = try PortPlan(range: 31007...31008, podPort: 51820) }

    /// The ports that each server sees of a socket.
    private func seen(_ socket: Datagrams, _ servers: [Datagrams]) throws -> [UInt16] {
        try zip(Self.servers, servers).map { server, listener in
            try socket.send("hello", to: server.address, server.port)
            let heard = try #require(listener.receive())
            #expect(heard.address == RandomNode.address)
            return heard.port
        }
    }

    private func listen(_ lab: RandomNode) throws -> [Datagrams] {
        try Self.servers.map { try Datagrams(in: lab.outside, $0.address, port: $0.port) }
    }

    @Test func `the sidecar has one port for all, which everybody reaches; all else stays random`() throws {
        let lab = try RandomNode()
        let servers = try listen(lab)
        let sidecar = try Datagrams(in: lab.pods[0], port: 51820)
        let other = try Datagrams(in: lab.pods[0], port: 40000)
        #expect(Set(try seen(sidecar, servers)).count > 2)
        let port = try lab.assign(0, plan)
        #expect(port.number == 31007)
        // What was before goes on as it was: so it has to be forgotten.
        #expect(try !seen(sidecar, servers).contains(31007))
        #expect(try lab.forget(port) == 4)
        #expect(try seen(sidecar, servers) == [31007, 31007, 31007, 31007])
        #expect(Set(try seen(other, servers)).count > 2)

        let stranger = try Datagrams(in: lab.outside, "203.0.113.3")
        try stranger.send("unasked", to: RandomNode.address, 31007)
        let heard = try #require(sidecar.receive())
        #expect(heard.text == "unasked" && heard.address == "203.0.113.3")
        try sidecar.send("answer", to: heard.address, heard.port)
        let answer = try #require(stranger.receive())
        #expect(answer.text == "answer" && answer.address == RandomNode.address && answer.port == 31007)
        // Forgetting flows of the map that is in force changes nothing.
        #expect(try lab.forget(port) > 4)
        #expect(try seen(sidecar, servers) == [31007, 31007, 31007, 31007])
    }

    @Test func `of a mapped port only what is from before it is forgotten`() throws {
        let lab = try RandomNode()
        let peers = try ["203.0.113.2", "203.0.113.3"].map { try Datagrams(in: lab.outside, $0, port: 41641) }
        let inside = try Datagrams(in: lab.outside, "10.99.0.1", port: 3478)
        let sidecar = try Datagrams(in: lab.pods[0], port: 51820)
        try sidecar.send("before", to: "203.0.113.2", 41641)
        #expect(peers[0].receive()?.port != 31007)
        let port = try lab.assign(0, plan)
        // What the pod and its peers begin before anybody looks.
        try sidecar.send("young", to: "203.0.113.3", 41641)
        #expect(peers[1].receive()?.port == 31007)
        try sidecar.send("young", to: "10.99.0.1", 3478)
        let binding = try #require(inside.receive()).port
        let stranger = try Datagrams(in: lab.outside, "203.0.113.1")
        try stranger.send("unasked", to: RandomNode.address, 31007)
        #expect(sidecar.receive()?.text == "unasked")
        #expect(try lab.forget(port, mappedBy: plan) == 1)
        try sidecar.send("again", to: "203.0.113.2", 41641)
        #expect(peers[0].receive()?.port == 31007)
        // Another entry would have another random port.
        try sidecar.send("again", to: "10.99.0.1", 3478)
        #expect(inside.receive()?.port == binding)
        #expect(try lab.flows().count == 4)
    }

    @Test func `an early packet of a peer takes no port away`() throws {
        let lab = try RandomNode()
        let port = try lab.assign(0, plan)
        let sidecar = try Datagrams(in: lab.pods[0], port: 51820)
        let peer = try Datagrams(in: lab.outside, "203.0.113.2", port: 41641)
        try peer.send("early", to: RandomNode.address, port.number)
        #expect(sidecar.receive()?.text == "early")
        try sidecar.send("opening", to: "203.0.113.2", 41641)
        #expect(peer.receive()?.port == port.number)
    }

    @Test func `exceptions see the pod as the node's own NAT leaves it`() throws {
        let lab = try RandomNode()
        _ = try lab.assign(0, plan)
        let sidecar = try Datagrams(in: lab.pods[0], port: 51820)
        let inside = try Datagrams(in: lab.outside, "10.99.0.1", port: 3478)
        try sidecar.send("hello", to: "10.99.0.1", 3478)
        #expect(try #require(inside.receive()).port != 31007)
    }

    @Test func `two pods of a node reach each other at its ports`() throws {
        let lab = try RandomNode()
        let ports = [try lab.assign(0, plan), try lab.assign(1, plan)]
        let sidecars = try lab.pods.map { try Datagrams(in: $0, port: 51820) }
        try sidecars[0].send("hello", to: RandomNode.address, ports[1].number)
        let heard = try #require(sidecars[1].receive())
        #expect(heard.text == "hello" && heard.address == "10.1.0.2" && heard.port == 51820)
        try sidecars[1].send("answer", to: heard.address, heard.port)
        #expect(sidecars[0].receive()?.text == "answer")
    }

    @Test func `a port without a pod takes in nothing, and the next pod finds it free`() throws {
        let lab = try RandomNode()
        let plan = try PortPlan(range: 31007...31007, podPort: 51820)
        let first = try lab.assign(0, plan)
        let peer = try Datagrams(in: lab.outside, "203.0.113.2", port: 41641)
        let sidecars = try lab.pods.map { try Datagrams(in: $0, port: 51820) }
        try peer.send("one", to: RandomNode.address, 31007)
        #expect(sidecars[0].receive()?.text == "one")
        try lab.node.release(0)
        #expect(try lab.forget(first) == 1)
        // The peer does not know, and goes on.
        try peer.send("two", to: RandomNode.address, 31007)
        #expect(sidecars[0].receive(milliseconds: 100) == nil)
        #expect(try lab.flows().isEmpty)
        // So the next pod's packets to that very peer leave as they are to.
        let second = try lab.assign(1, plan)
        #expect(second.number == 31007)
        try sidecars[1].send("hello", to: "203.0.113.2", 41641)
        #expect(peer.receive()?.port == 31007)
    }

    @Test func `whoever comes next makes conntrack forget what a killed plugin did not`() throws {
        let lab = try RandomNode()
        let plan = try PortPlan(range: 31007...31007, podPort: 51820)
        _ = try lab.assign(0, plan)
        let peer = try Datagrams(in: lab.outside, "203.0.113.2", port: 41641)
        let sidecars = try lab.pods.map { try Datagrams(in: $0, port: 51820) }
        try sidecars[0].send("hello", to: "203.0.113.2", 41641)
        #expect(peer.receive()?.port == 31007)
        try lab.node.release(0)
        // The port is another pod's before anybody looks, and that one's flows are its own.
        _ = try lab.assign(1, plan)
        try sidecars[1].send("hello", to: "203.0.113.3", 41641)
        #expect(try lab.flows().count == 2)
        let folder = lab.node.folder.path
        #expect(StaleFlows.isDue(in: folder))
        try lab.node.place.run { try StaleFlows.forgetReleased(folder: folder) }
        let left = try lab.flows()
        #expect(left.count == 1 && left[0].contains("dst=203.0.113.3"), "\(left)")
        #expect(!StaleFlows.isDue(in: folder))
        #expect(lab.node.folder.names("") == ["31007", "flows", "last", "lock", "rules"])
    }

    @Test func `flows of a former pod end with its port, those of others stay`() throws {
        let lab = try RandomNode()
        let plan = try PortPlan(range: 31007...31007, podPort: 51820)
        let first = try lab.assign(0, plan)
        let peer = try Datagrams(in: lab.outside, "203.0.113.2", port: 41641)
        let sidecars = try lab.pods.map { try Datagrams(in: $0, port: 51820) }
        let bystander = try Datagrams(in: lab.pods[1], port: 40000)
        // Whose destination has the number of our port.
        try bystander.send("hello", to: "203.0.113.3", 31007)
        try sidecars[0].send("hello", to: "203.0.113.2", 41641)
        #expect(peer.receive()?.port == 31007)
        // The former pod's map goes to the next one, but conntrack decided at the first packet.
        try lab.node.release(0)
        let second = try lab.assign(1, plan)
        try peer.send("for the second", to: RandomNode.address, 31007)
        #expect(sidecars[0].receive()?.text == "for the second")
        #expect(try lab.forget(second) == 1)
        try peer.send("again", to: RandomNode.address, 31007)
        #expect(sidecars[1].receive()?.text == "again")
        #expect(try lab.flows().contains { $0.contains("dst=203.0.113.3") && $0.contains("dport=31007") })
        #expect(try lab.forget(first) >= 1)
    }
}
