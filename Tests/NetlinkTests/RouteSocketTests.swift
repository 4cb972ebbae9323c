import Addressing
import Linux
import Netlink
import TestSupport
import Testing

/// The real kernel, in namespaces of our own. Needs root.
///
///     scratch netns A: a0 ─── veth ─── b0 :scratch netns B
@Suite struct RouteSocketTests {
    @Test func `a new namespace has only a loopback link, which is down`() throws {
        let links = try ScratchNamespace().run {
            var socket = try RouteSocket()
            return try socket.links()
        }
        #expect(links.map(\.name) == ["lo"])
        #expect(links.first?.isUp == false)
        #expect(links.first?.kind == nil)
    }

    @Test func `a link that is not there is nil, not an error`() throws {
        let link = try ScratchNamespace().run {
            var socket = try RouteSocket()
            return try socket.link(named: "nothere")
        }
        #expect(link == nil)
    }

    @Test func `a veth pair spans two namespaces and carries MTU, addresses and routes`() throws {
        let (near, far) = (try ScratchNamespace(), try ScratchNamespace())
        try near.run {
            var socket = try RouteSocket()
            try socket.createVeth("a0", peer: "b0", in: far.namespace, mtu: 1380)
            let link = try #require(try socket.link(named: "a0"))
            #expect(link.kind == "veth" && link.mtu == 1380 && !link.isUp)

            try socket.set(mtu: 1400, on: link)
            try socket.set(maximumSegments: 44, on: link)
            try socket.disableLinkLocalAddress(on: link)
            try socket.add(IPPrefix("10.9.0.7/24")!, to: link)
            try socket.add(IPPrefix("fd00:9::7/128")!, to: link)
            try socket.setUp(link)
            try socket.addRoute(to: IPPrefix("10.10.0.0/16")!, on: link)
            try socket.addRoute(to: IPPrefix("0.0.0.0/0")!, via: IPAddress("10.9.0.1"), on: link)
            try socket.addRoute(to: IPPrefix("fd00:9::/48")!, on: link)

            let changed = try #require(try socket.link(named: "a0"))
            #expect(changed.isUp && changed.mtu == 1400 && changed.maximumSegments == 44)
            let addresses = try socket.addresses(on: link)
            #expect(Set(addresses.map(\.prefix)) == [IPPrefix("10.9.0.7/24")!, IPPrefix("fd00:9::7/128")!])
            #expect(addresses.allSatisfy { !$0.isTentative })
            let routes = try socket.routes().filter { $0.isUnicast && $0.table == 254 }
            #expect(routes.contains { $0.destination == IPPrefix("10.10.0.0/16") && $0.linkIndex == link.index })
            #expect(routes.contains { $0.destination == IPPrefix("fd00:9::/48") && $0.gateway == nil })
            #expect(
                routes.contains { $0.destination == IPPrefix("0.0.0.0/0") && $0.gateway == IPAddress("10.9.0.1") })
        }
        let peers = try far.run {
            var socket = try RouteSocket()
            return try socket.links()
        }
        #expect(peers.first { $0.name == "b0" }?.mtu == 1380)
    }

    @Test func `refusals name operation, subject and error number`() throws {
        try ScratchNamespace().run {
            var socket = try RouteSocket()
            let loopback = try #require(try socket.link(named: "lo"))
            try socket.add(IPPrefix("10.9.0.7/24")!, to: loopback)
            let text = Self.message { try socket.add(IPPrefix("10.9.0.7/24")!, to: loopback) }
            #expect(text?.hasPrefix("set address 10.9.0.7/24 on lo: EEXIST (File exists)") == true)

            let gone = Link(index: 99, name: "gone0")
            #expect(Self.message { try socket.setUp(gone) }?.hasPrefix("set gone0 up: ENODEV") == true)
            #expect(Self.message { try socket.delete(gone) }?.hasPrefix("delete link gone0: ENODEV") == true)
            let route = Self.message {
                try socket.addRoute(to: IPPrefix("10.0.0.0/8")!, via: IPAddress("192.0.2.1"), on: loopback)
            }
            #expect(route?.hasPrefix("add route 10.0.0.0/8 via 192.0.2.1 on lo: ") == true)
        }
    }

    @Test func `the kernel's extended-ack text is part of the error`() throws {
        try ScratchNamespace().run {
            var socket = try RouteSocket()
            let loopback = try #require(try socket.link(named: "lo"))
            let text = Self.message { try socket.set(mtu: .max, on: loopback) }
            #expect(text == "set MTU 4294967295 on lo: EINVAL (Invalid argument): mtu less than device minimum")
        }
    }

    @Test func `a deleted link is gone`() throws {
        let (near, far) = (try ScratchNamespace(), try ScratchNamespace())
        try near.run {
            var socket = try RouteSocket()
            try socket.createVeth("a0", peer: "b0", in: far.namespace)
            try socket.delete(try #require(try socket.link(named: "a0")))
            #expect(try socket.links().map(\.name) == ["lo"])
        }
    }

    @Test func `a dump longer than one datagram comes whole`() throws {
        try ScratchNamespace().run {
            var socket = try RouteSocket()
            let loopback = try #require(try socket.link(named: "lo"))
            for host in 1...900 {
                let address = IPAddress.v4(IPv4Address(value: 0x0a09_0000 + UInt32(host)))
                try socket.add(IPPrefix(host: address), to: loopback)
            }
            #expect(try socket.addresses(on: loopback).count == 900)
        }
    }

    private static func message(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch { return "\(error)" }
    }
}
