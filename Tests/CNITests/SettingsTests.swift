import Addressing
import Testing

@testable import CNI

@Suite struct SettingsTests {
    private let least = #""cniVersion":"1.0.0","name":"mesh","type":"warren-cni","mesh":"fd00:9::/48","node":7"#

    private func conf(_ more: String = "") throws -> NetConf {
        try NetConf(parsing: Array("{\(least)\(more.isEmpty ? "" : ",\(more)")}".utf8))
    }

    @Test func `defaults fill in what is not said`() throws {
        let settings = try Settings(conf())
        #expect(settings.interface == "warren0" && settings.owner == 64738 && settings.mtu == nil)
        #expect(settings.location.addresses == "/run/warren/cni/networks/mesh")
        #expect(settings.routes == [IPPrefix("fd00:9::/48")!])
        #expect(settings.plan?.block == IPPrefix("fd00:9:0:7::/64"))
    }

    @Test func `an IPv4 range adds its network to the routes, unless routes are given`() throws {
        let settings = try Settings(conf(#""ipv4Range":"10.9.7.3/24""#))
        #expect(settings.routes == [IPPrefix("fd00:9::/48")!, IPPrefix("10.9.7.0/24")!])
        let given = try Settings(
            conf(#""ipv4Range":"10.9.7.0/24","routes":[{"dst":"10.9.0.1/16"},{"dst":"10.9.0.0/16"}]"#))
        #expect(given.routes == [IPPrefix("10.9.0.0/16")!])
    }

    @Test(arguments: [
        #""mesh":"fd00:9::/64""#, #""mesh":"10.0.0.0/8""#, #""mesh":"ff00::/48""#, #""mesh":"x""#, #""node":65536"#,
        #""node":-1"#, #""ownerUid":0"#, #""ownerUid":-1"#, #""ownerUid":4294967295"#, #""mtu":1279"#, #""mtu":65536"#,
        #""interface":"""#, #""interface":"a/b""#, #""interface":"abcdefghijklmnop""#, #""dataDir":"run""#,
        #""name":"""#, #""name":"../x""#, #""name":"-x""#, #""ipv4Range":"10.0.0.1""#, #""ipv4Range":"fd00::/64""#,
        #""ipv4Range":"0.0.0.0/0""#, #""ipv4Range":"10.0.0.0/24","rangeStart":"10.0.1.1""#,
        #""ipv4Range":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.8""#, #""rangeStart":"10.0.0.1""#,
        #""routes":[{"dst":"everywhere"}]"#, #""refuseOverlap":["everything"]"#,
    ])
    func `a bad value is refused with code 7, named by its key`(member: String) throws {
        // The last of two equal keys would win or lose by accident: leave out the one that the case replaces.
        let key = member.split(separator: "\"")[0]
        let culprit = member.contains("rangeStart") ? "rangeStart" : key
        let rest = least.split(separator: ",").filter { !$0.hasPrefix("\"\(key)\"") }.joined(separator: ",")
        let conf = try NetConf(parsing: Array("{\(rest),\(member)}".utf8))
        let error = #expect(throws: CNIError.self) { try Settings(conf) }
        #expect(error?.code == 7)
        #expect(error?.message.contains(culprit) == true)
    }

    @Test(arguments: ["mesh", "node", "name"])
    func `a missing key is named`(key: String) throws {
        let rest = least.split(separator: ",").filter { !$0.hasPrefix("\"\(key)\"") }.joined(separator: ",")
        let conf = try NetConf(parsing: Array("{\(rest)}".utf8))
        let error = #expect(throws: CNIError.self) { try Settings(conf) }
        #expect(error?.code == 7 && error?.message.contains(key) == true)
    }

    @Test func `a delegated IPAM plugin gives out the addresses, alone`() throws {
        let delegated = try Settings(conf(#""ipam":{"type":"host-local"}"#))
        guard case .delegated("host-local") = delegated.addressing else {
            Issue.record("\(delegated.addressing)")
            return
        }
        #expect(delegated.routes == [IPPrefix("fd00:9::/48")!])
        for ipam in [#"{}"#, "null", #"{"type":"warren-cni"}"#] {
            #expect(try Settings(conf(#""ipam":\#(ipam)"#)).plan != nil)
        }
        for more in [
            #""ipam":{"ranges":[]}"#, #""ipam":{"type":""}"#, #""ipam":{"type":"a/b"}"#, #""ipam":"host-local""#,
            #""ipam":{"type":"host-local"},"ipv4Range":"10.9.7.0/24""#,
        ] {
            let error = #expect(throws: CNIError.self) { try Settings(conf(more)) }
            #expect(error?.code == 7)
        }
    }

    @Test func `ranges that others have are refused, both named`() throws {
        let range = #""ipv4Range":"10.96.7.0/24","#
        let error = #expect(throws: CNIError.self) {
            try Settings(conf(range + #""refuseOverlap":["192.0.2.0/24","10.96.0.0/12"]"#))
        }
        #expect(error == .overlap("route 10.96.7.0/24 into warren0: it overlaps 10.96.0.0/12 of refuseOverlap"))
        #expect(error?.code == 106)
        _ = try Settings(conf(range + #""refuseOverlap":["192.0.2.0/24","10.97.0.0/16","::/0","0.0.0.0/0"]"#))
        for text in ["fd00:9:0:1::/64", "fd00::/8", "fd00:9::5"] {
            let error = #expect(throws: CNIError.self) { try Settings(conf(#""refuseOverlap":["\#(text)"]"#)) }
            #expect(error?.message.contains(text) == true && error?.message.contains("fd00:9::/48") == true)
        }
        #expect(throws: CNIError.self) {
            try Settings(conf(#""routes":[{"dst":"10.0.0.0/8"}],"refuseOverlap":["10.96.0.0/12"]"#))
        }
    }

    @Test func `an agent is required only if there is one`() throws {
        #expect(try Settings(conf()).agent == nil)
        let agent = try Settings(conf(#""agent":"/run/warren/node.sock""#)).agent
        #expect(agent?.isRequired == false && agent?.socket == "/run/warren/node.sock")
        #expect(try Settings(conf(#""agent":"/a","agentRequired":true"#)).agent?.isRequired == true)
        for more in [#""agentRequired":true"#, #""agent":"node.sock""#] {
            #expect(throws: CNIError.self) { try Settings(conf(more)) }
        }
    }

    @Test(arguments: ["", "{", "[]", "null", #"{"name":7}"#, #"{"name":"mesh","node":"7"}"#, "{\"name\":\"\u{0}\"}"])
    func `what is no configuration is undecodable`(text: String) {
        let error = #expect(throws: CNIError.self) { try NetConf(parsing: Array(text.utf8)) }
        #expect(error?.code == 6)
    }

    @Test func `the MTU leaves room for our headers and for IPv6`() throws {
        let settings = try Settings(conf())
        #expect(try settings.mtu(over: 1500, named: "eth0") == 1400)
        #expect(try settings.mtu(over: 1380, named: "eth0") == 1280)
        #expect(try settings.mtu(over: 65536, named: "lo") == 65436)
        #expect(throws: CNIError.self) { try settings.mtu(over: 1379, named: "eth0") }
        #expect(try Settings(conf(#""mtu":1300"#)).mtu(over: 1300, named: "eth0") == 1300)
    }

    @Test func `the first source that names addresses wins`() throws {
        let none = try Arguments(parsing: "")
        let environment = try Arguments(parsing: "IP=10.0.0.3")
        let both = #""runtimeConfig":{"ips":["10.0.0.1/24"]},"args":{"cni":{"ips":["10.0.0.2"]}}"#
        #expect(try conf(both).requestedAddresses(environment) == [IPAddress("10.0.0.1")])
        #expect(
            try conf(#""args":{"cni":{"ips":["10.0.0.2"]}}"#).requestedAddresses(environment) == [IPAddress("10.0.0.2")]
        )
        #expect(try conf().requestedAddresses(environment) == [IPAddress("10.0.0.3")])
        #expect(try conf().requestedAddresses(none) == [])
    }

    @Test func `containerd's capital letters and nulls are understood`() throws {
        let none = try Arguments(parsing: "")
        #expect(try conf(#""runtimeConfig":{"IPs":["fd00::1"]}"#).requestedAddresses(none) == [IPAddress("fd00::1")])
        #expect(try conf(#""runtimeConfig":{"ips":null,"portMappings":null}"#).requestedAddresses(none) == [])
        let error = #expect(throws: CNIError.self) {
            try conf(#""runtimeConfig":{"ips":["x"]}"#).requestedAddresses(none)
        }
        #expect(error?.code == 7)
    }

    @Test func `garbage collection reads both names of its key`() throws {
        let attachment = Store.Holder(containerID: "a", ifName: "eth0")
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            let conf = try conf(#""\#(key)":[{"containerID":"a","ifname":"eth0"}]"#)
            #expect(conf.validAttachments == [attachment])
        }
        #expect(try conf().validAttachments == nil)
        #expect(try conf(#""cni.dev/valid-attachments":null"#).validAttachments == nil)
        #expect(try conf(#""cni.dev/valid-attachments":[]"#).validAttachments == [])
        // Half a list must not free the other half.
        #expect(throws: CNIError.self) { try conf(#""cni.dev/valid-attachments":[{"containerID":"a"}]"#) }
    }
}
