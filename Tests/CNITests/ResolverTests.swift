import Addressing
import Linux
import Netlink
import TestSupport
import Testing

@testable import CNI

/// What the pod's resolver gets, by the built program in namespaces of the test's own. Needs root.
@Suite struct ResolverTests {
    private func lo(_ runtime: Runtime) throws -> [String] {
        try runtime.pod.run {
            var socket = try RouteSocket()
            let link = try #require(try socket.link(named: "lo"))
            return try socket.addresses(on: link).map(\.prefix.description).sorted()
        }
    }

    private func firstPort(_ runtime: Runtime) throws -> String {
        try runtime.pod.run { String(decoding: try Self.read().filter { $0 > 32 }, as: UTF8.self) }
    }

    private static let sysctl = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    private static func read() throws -> [UInt8] { try FileDescriptor(open: sysctl, 0).read(upTo: 16) }

    @Test func `ADD gives lo the resolver's addresses and the pod its port, and the host nothing`() throws {
        let before = try Self.read()
        let runtime = try Runtime()
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        #expect(try Set(lo(runtime)).isSuperset(of: ["169.254.53.53/32", "fd00:9::53/128"]))
        #expect(try firstPort(runtime) == "53")
        #expect(try Self.read() == before)
        let host = try Thread.run(named: "host") {
            var socket = try RouteSocket()
            return try socket.addresses().map(\.prefix.address)
        }
        #expect(!host.contains(where: ResolverAddress.isOne))
    }

    @Test func `DEL takes the addresses away, and ADD after it gives them again`() throws {
        let runtime = try Runtime()
        for _ in 0..<2 {
            #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
            #expect(try lo(runtime).contains("169.254.53.53/32"))
            #expect(try runtime.call("DEL", runtime.configuration()).status == 0)
            let left = try lo(runtime)
            #expect(!left.contains("169.254.53.53/32") && !left.contains("fd00:9::53/128"))
        }
    }

    @Test func `with "resolver" false there is none, and CHECK misses none`() throws {
        let runtime = try Runtime()
        let configuration = runtime.configuration("1.0.0", #""resolver":false"#)
        let added = try runtime.call("ADD", configuration)
        #expect(added.status == 0)
        #expect(try !lo(runtime).contains("169.254.53.53/32"))
        #expect(try firstPort(runtime) == "1024")
        #expect(try runtime.call("CHECK", Runtime.configuration(configuration, previous: added.output)).status == 0)
    }

    @Test func `a pod that may have lower ports keeps them, and one whose lo has no IPv6 gets none`() throws {
        let runtime = try Runtime()
        try runtime.pod.run {
            try FileDescriptor(open: Self.sysctl, 1).writeAll(Array("0".utf8))
            try FileDescriptor(open: "/proc/sys/net/ipv6/conf/lo/disable_ipv6", 1).writeAll(Array("1".utf8))
        }
        let added = try runtime.call("ADD", runtime.configuration())
        #expect(added.status == 0)
        #expect(try firstPort(runtime) == "0")
        #expect(try lo(runtime).filter { $0.hasPrefix("169") || $0.hasPrefix("fd") } == ["169.254.53.53/32"])
        let configuration = Runtime.configuration(runtime.configuration(), previous: added.output)
        #expect(try runtime.call("CHECK", configuration).status == 0)
    }

    @Test func `the resolver's address is nobody's to ask for`() throws {
        let runtime = try Runtime()
        let text = runtime.configuration("1.0.0", #""args":{"cni":{"ips":["fd00:9::53"]}}"#)
            .replacing(#""node":7"#, with: #""node":0"#)
        let answer = try runtime.call("ADD", text)
        #expect(answer.status != 0)
        #expect(answer.message.contains("resolvers"))
    }
}

extension String {
    fileprivate func replacing(_ old: String, with new: String) -> String {
        var (text, rest) = ("", self[...])
        while let first = rest.first {
            if rest.hasPrefix(old) {
                text += new
                rest = rest.dropFirst(old.count)
            } else {
                text.append(first)
                rest = rest.dropFirst()
            }
        }
        return text
    }
}
