import Addressing
import CLinux
import Glibc
import Linux
import Synchronization
import TestSupport
import Testing

@testable import NodePorts

/// Store and kernel together. Needs root.
@Suite struct PortMapTests {
    private let plan: PortPlan

    init() throws { plan = try #require(Node.plan) }

    @Test func `a pod gets one port, in store and kernel, and gives it back`() throws {
        let node = try Node()
        let port = try node.assign(2, plan)
        #expect(port == NodePort(31000, pod: IPv4Address(10, 1, 0, 2), podPort: 51820))
        #expect(node.folder.read("31000") == "container2\r\neth0\r\nmesh\r\n10.1.0.2\r\n51820")
        #expect(node.folder.names("") == ["31000", "last", "lock", "rules"])
        #expect(try node.elements(of: "outbound") == ["10.1.0.2 . 51820 : 31000"])
        #expect(try node.elements(of: "inbound") == ["31000 : 10.1.0.2 . 51820"])
        #expect(try node.release(2) == port)
        #expect(try node.release(2) == nil)
        #expect(node.ports.isEmpty)
        #expect(try node.elements(of: "outbound").isEmpty && node.elements(of: "inbound").isEmpty)
    }

    @Test func `ports go round, so that one is not given again at once`() throws {
        let node = try Node()
        let plan = try PortPlan(range: 31000...31002, podPort: 51820)
        #expect(try [node.assign(1, plan), node.assign(2, plan)].map(\.number) == [31000, 31001])
        try node.release(1)
        #expect(try node.assign(3, plan).number == 31002)
        #expect(try node.assign(4, plan).number == 31000)
        let error = #expect(throws: NodePortError.self) { try node.assign(5, plan) }
        #expect(error?.description == "reserve a node port of 31000-31002 for container container5: all are taken")
        #expect(node.ports.count == 3)
    }

    @Test func `a port that a program of the node has is passed over`() throws {
        let node = try Node()
        let (map, plan) = (node.map, plan)
        try node.place.run {
            let first = try Self.bind(31000, AF_INET)
            let second = try Self.bind(31001, AF_INET6)
            #expect(try map.assign(to: Node.pod(2), holder: Node.holder(2), plan: plan).number == 31002)
            #expect(!HostPorts.isFree(31001) && HostPorts.isFree(31003))
            #expect(first.raw != second.raw)
        }
    }

    @Test func `ephemeral ports in the range are told, reserved ones are not`() throws {
        try ScratchNamespace().run {
            func write(_ text: String, _ name: String) throws {
                try FileDescriptor(open: "/proc/sys/net/ipv4/\(name)", O_WRONLY).writeAll(Array(text.utf8))
            }
            try write("32768 60999", "ip_local_port_range")
            #expect(HostPorts.ephemeral(in: 31000...32767) == nil)
            #expect(HostPorts.ephemeral(in: 32000...33000) == 32768...33000)
            try write("32000-33500", "ip_local_reserved_ports")
            #expect(HostPorts.ephemeral(in: 32000...33000) == nil)
        }
    }

    @Test func `many at once get different ports, and the kernel has them all`() throws {
        let (node, plan) = (try Node(), plan)
        let numbers = Mutex<[UInt16]>([])
        try Self.inParallel(8) { lane in
            for number in 0..<25 {
                let port = try? node.assign(2 + lane * 25 + number, plan)
                numbers.withLock { $0.append(port?.number ?? 0) }
            }
        }
        let given = numbers.withLock { $0 }
        #expect(Set(given).count == 200 && !given.contains(0))
        #expect(try node.elements(of: "outbound").count == 200)
        // In parallel some come and others go.
        try Self.inParallel(8) { lane in
            for number in 0..<25 {
                if lane.isMultiple(of: 2) {
                    _ = try? node.release(2 + lane * 25 + number)
                } else {
                    _ = try? node.assign(300 + lane * 25 + number, plan)
                }
            }
        }
        #expect(node.ports.count == 200)
        let expected = try node.map.records().map { "\($0.port.number) : \($0.port.pod) . 51820" }.sorted()
        #expect(try node.elements(of: "inbound") == expected)
    }

    @Test func `many thousand ports are one transaction`() throws {
        let node = try Node()
        let ports = (0..<20_000).map {
            NodePort(UInt16(20_000 + $0), pod: IPv4Address(value: 0x0a00_0000 + UInt32($0)), podPort: 51820)
        }
        let plan = plan
        try node.place.run { try PortTable().install(plan, ports) }
        #expect(try node.elements(of: "inbound").count == 20_000)
    }

    @Test func `after somebody emptied the kernel's rules the next pod brings all back`() throws {
        let node = try Node()
        for number in 1...3 { try node.assign(number, plan) }
        try node.nft("flush", "ruleset")
        try node.assign(4, plan)
        #expect(try node.elements(of: "outbound").count == 4)
        try node.nft("flush", "ruleset")
        try node.release(1)
        #expect(try node.nft("list", "ruleset").isEmpty)
        let (map, plan) = (node.map, plan)
        try node.place.run { try map.restore(plan) }
        #expect(try node.elements(of: "outbound").count == 3)
    }

    @Test func `other exceptions reach the rules with the next pod`() throws {
        let node = try Node()
        try node.assign(1, plan)
        let other = try PortPlan(range: plan.range, podPort: 51820, exceptions: [try #require(IPPrefix("10.0.0.0/8"))])
        try node.assign(2, other)
        #expect(try node.elements(of: "except") == ["10.0.0.0/8"])
        #expect(try node.elements(of: "outbound").count == 2)
    }

    @Test func `a pod address given again takes the place of a pod whose DEL never came`() throws {
        let node = try Node()
        let (map, plan) = (node.map, plan)
        try node.assign(1, plan)
        let port = try node.place.run { try map.assign(to: Node.pod(1), holder: Node.holder(7), plan: plan) }
        #expect(try node.elements(of: "outbound") == ["10.1.0.1 . 51820 : \(port.number)"])
        #expect(try node.elements(of: "inbound") == ["\(port.number) : 10.1.0.1 . 51820"])
        #expect(node.ports == ["\(port.number)"])
    }

    @Test func `garbage collection is a set difference, within one network`() throws {
        let node = try Node()
        let (map, plan) = (node.map, plan)
        for number in 1...4 { try node.assign(number, plan) }
        try node.place.run {
            _ = try map.assign(to: Node.pod(9), holder: Node.holder(9, network: "other"), plan: plan)
            let freed = try map.collectGarbage(in: "mesh", keeping: [Node.holder(2), Node.holder(3)], plan: plan)
            #expect(freed.map(\.pod) == [Node.pod(1), Node.pod(4)])
        }
        #expect(try map.records().map(\.holder) == [Node.holder(2), Node.holder(3), Node.holder(9, network: "other")])
        #expect(try node.elements(of: "outbound").count == 3)
        try node.nft("flush", "ruleset")
        _ = try node.place.run { try map.collectGarbage(in: "mesh", keeping: [Node.holder(2)], plan: plan) }
        #expect(try node.elements(of: "outbound").count == 2)
        // Where there never was a port nothing is made.
        let empty = try Node()
        _ = try empty.place.run { [map = empty.map] in try map.collectGarbage(in: "mesh", keeping: [], plan: plan) }
        #expect(try empty.nft("list", "ruleset").isEmpty)
    }

    @Test func `after uninstalling nothing is left`() throws {
        let node = try Node()
        for number in 1...3 { try node.assign(number, plan) }
        try node.nft("add", "table", "ip", "others")
        let map = node.map
        for _ in 0..<2 { try node.place.run { try map.removeAll() } }
        #expect(try node.nft("list", "ruleset") == "table ip others {\n}\n")
        #expect(node.folder.names("") == ["lock"])
    }

    @Test func `what a kill leaves of a file being written is no record, and does not spread`() throws {
        let node = try Node()
        // Linked to its port, but not yet unlinked; and a record that was never written whole.
        try node.folder.write("container1\r\neth0\r\nmesh\r\n10.1.0.1\r\n51820", to: ".write")
        try #require(unsafe link("\(node.folder.path)/.write", "\(node.folder.path)/31000") == 0)
        try node.folder.write("", to: "31001")
        #expect(try node.assign(2, plan).number == 31002)
        #expect(node.folder.read("31000")?.hasPrefix("container1") == true)
        #expect(!node.folder.names("").contains(".write"))
        let (map, plan) = (node.map, plan)
        _ = try node.place.run { try map.collectGarbage(in: "mesh", keeping: [Node.holder(2)], plan: plan) }
        #expect(node.ports == ["31002"])
    }

    private static func bind(_ port: UInt16, _ family: Int32) throws -> FileDescriptor {
        let raw = try check("socket") { socket(family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0) }
        let descriptor = FileDescriptor(owning: raw)
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(family)
        // In the same place in both.
        address.sin6_port = port.bigEndian
        _ = try check("bind") {
            unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.bind(raw, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        }
        return descriptor
    }

    private static func inParallel(_ lanes: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
        let started = Mutex(0)
        let done = Mutex(0)
        for lane in 0..<lanes {
            _ = try Linux.Thread(named: "lane") {
                started.withLock { $0 += 1 }
                try? body(lane)
                done.withLock { $0 += 1 }
            }
        }
        while done.withLock({ $0 }) < lanes { usleep(1000) }
    }
}
