import Addressing
import Glibc
import Linux
import Netlink
import TestSupport
import Testing

@testable import CNI

/// ADD by the built program, as a runtime calls it, in namespaces of the test's own. Needs root.
@Suite struct AddTests {
    private let ipv6 = "fd00:9:0:7:a8de:4ddf:bc73:d709/128"

    @Test(arguments: CNIVersion.allCases)
    func `alone it returns and makes exactly its own`(version: CNIVersion) throws {
        let runtime = try Runtime()
        let answer = try runtime.call("ADD", runtime.configuration(version.rawValue))
        let (four, six) = version < .v1_0_0 ? (#","version":"4""#, #","version":"6""#) : ("", "")
        let mtu = version < .v1_1_0 ? "" : #""mtu":1400,"#
        #expect(
            answer.output
                == #"{"cniVersion":"\#(version.rawValue)","dns":{},"interfaces":[{"mac":"00:00:00:00:00:00",\#(mtu)"#
                + #""name":"warren0","sandbox":"\#(runtime.pod.path)"}],"ips":[{"address":"\#(ipv6)","interface":0\#(six)},"#
                + #"{"address":"10.9.7.1/32","interface":0\#(four)}],"routes":[{"dst":"fd00:9::/48"},{"dst":"10.9.7.0/24"}]}"#
        )
        #expect(answer.status == 0 && answer.diagnostics.isEmpty)

        let ipv6 = IPPrefix(ipv6)!
        try runtime.pod.run {
            var socket = try RouteSocket()
            let link = try #require(try socket.link(named: "warren0"))
            #expect(link.isUp && link.mtu == 1400 && link.maximumSegments == 44)
            #expect(link.tun == Link.Tun(owner: 64738, isLayer3: true, isPersistent: true, isMultiQueue: false))
            let addresses = try socket.addresses(on: link)
            // No link-local address beside ours, and no duplicate address detection to wait for.
            #expect(Set(addresses.map(\.prefix)) == [ipv6, IPPrefix("10.9.7.1/32")!])
            #expect(addresses.allSatisfy { !$0.isTentative })
            let routes = try socket.routes().filter { $0.isUnicast && $0.linkIndex == link.index }
            #expect(routes.contains { $0.destination == IPPrefix("fd00:9::/48") })
            #expect(routes.contains { $0.destination == IPPrefix("10.9.7.0/24") })
        }
    }

    @Test(arguments: CNIVersion.allCases)
    func `chained it comes after the primary and fits under its MTU`(version: CNIVersion) throws {
        let (runtime, host) = (try Runtime(), try ScratchNamespace())
        try runtime.addPrimary(mtu: 1450, host: host)
        let four = version < .v1_0_0 ? #""version":"4","# : ""
        let previous =
            #"{"cniVersion":"\#(version.rawValue)","interfaces":[{"name":"h0"},{"name":"eth0","mac":"02:00:00:00:00:02","#
            + #""sandbox":"\#(runtime.pod.path)"}],"ips":[{\#(four)"address":"10.1.0.2/24","interface":1}],"x":{"y":null}}"#
        let configuration = Runtime.configuration(runtime.configuration(version.rawValue), previous: previous)
        let answer = try runtime.call("ADD", configuration)
        #expect(answer.status == 0)
        #expect(answer.addresses == ["10.1.0.2/24", ipv6, "10.9.7.1/32"])
        #expect(answer.json?["ips"]?.elements?.map { $0["interface"]?.integer } == [1, 2, 2])
        #expect(answer.json?["interfaces"]?.elements?.map { $0["name"]?.text } == ["h0", "eth0", "warren0"])
        #expect(answer.json?["interfaces"]?.elements?.last?["mac"] == .string("00:00:00:00:00:00"))
        #expect(answer.json?["x"] == .object(["y": .null]))
        let versions = answer.json?["ips"]?.elements?.map { $0["version"]?.text }
        #expect(versions == (version < .v1_0_0 ? ["4", "6", "4"] : [nil, nil, nil]))
        #expect(try runtime.link()?.mtu == 1350)
    }

    @Test func `without a previous result the default route's device is the underlay`() throws {
        let (runtime, host) = (try Runtime(), try ScratchNamespace())
        try runtime.addPrimary("net7", mtu: 1420, host: host)
        try runtime.ip("address add 10.1.0.2/24 dev net7")
        try runtime.ip("link set net7 up")
        try runtime.ip("route add default via 10.1.0.1")
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        #expect(try runtime.link()?.mtu == 1320)
    }

    @Test func `the configuration overrides interface, MTU, owner and routes`() throws {
        let runtime = try Runtime()
        let text =
            #"{"cniVersion":"1.0.0","name":"mesh","mesh":"fd00:9::/48","node":7,"ownerUid":4242,"interface":"mesh7","#
            + #""mtu":1280,"routes":[{"dst":"fd00:9:0:8::/64"}],"dataDir":"\#(runtime.folder.path)"}"#
        #expect(try runtime.call("ADD", text).addresses == [ipv6])
        let link = try #require(try runtime.link("mesh7"))
        #expect(link.mtu == 1280 && link.tun?.owner == 4242)
        let routes = try runtime.pod.run {
            var socket = try RouteSocket()
            return try socket.routes()
        }
        #expect(routes.contains { $0.destination == IPPrefix("fd00:9:0:8::/64") })
        #expect(!routes.contains { $0.destination == IPPrefix("fd00:9::/48") })
    }

    @Test func `twice fails, and leaves the first whole`() throws {
        let runtime = try Runtime()
        let first = try runtime.call("ADD", runtime.configuration())
        let records = runtime.records
        let second = try runtime.call("ADD", runtime.configuration())
        #expect(second.status == 1 && second.code == 100)
        #expect(second.message.contains("container abc interface eth0"))
        #expect(second.json?["details"] == .string("ADD of container abc interface eth0"))
        #expect(runtime.records == records)
        let check = try runtime.call("CHECK", Runtime.configuration(runtime.configuration(), previous: first.output))
        #expect(check.status == 0)
    }

    @Test func `another container in the same namespace is refused, and its DEL takes nothing of the first`() throws {
        let runtime = try Runtime()
        let first = try runtime.call("ADD", runtime.configuration())
        let records = runtime.records
        let second = try runtime.call("ADD", container: "intruder", runtime.configuration())
        #expect(second.status == 1 && second.code == 100)
        #expect(second.message == "create TUN warren0: the namespace has an interface of that name")
        #expect(runtime.records == records)
        #expect(try runtime.call("DEL", container: "intruder", runtime.configuration()).status == 0)
        let check = try runtime.call("CHECK", Runtime.configuration(runtime.configuration(), previous: first.output))
        #expect(check.status == 0)
    }

    @Test func `an exhausted range is one clear error, with nothing left behind`() throws {
        let (runtime, other) = (try Runtime(), try ScratchNamespace())
        let configuration = runtime.configuration(range: "10.9.7.1/32")
        #expect(try runtime.call("ADD", configuration).status == 0)
        let records = runtime.records
        let answer = try runtime.call(runtime.environment("ADD", container: "second", netns: other.path), configuration)
        #expect(answer.status == 1 && answer.code == 102)
        #expect(answer.message == "reserve an address of 10.9.7.1-10.9.7.1 in mesh: all are taken")
        #expect(runtime.records == records)
        #expect(try other.link("warren0") == nil)
    }

    @Test func `a taken address is one clear error, with nothing left behind`() throws {
        let (runtime, other) = (try Runtime(), try ScratchNamespace())
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        let records = runtime.records
        let asking = runtime.configuration("1.0.0", #""runtimeConfig":{"ips":["10.9.7.1"]}"#)
        let answer = try runtime.call(runtime.environment("ADD", container: "second", netns: other.path), asking)
        #expect(answer.status == 1 && answer.code == 101)
        #expect(answer.message == "reserve 10.9.7.1 for container second interface eth0: container abc holds it")
        #expect(runtime.records == records)
        #expect(try other.link("warren0") == nil)
    }

    @Test func `an address asked for in CNI_ARGS is given, and the primary's is not taken for ours`() throws {
        let runtime = try Runtime()
        var environment = runtime.environment("ADD")
        environment["CNI_ARGS"] = "IP=10.1.0.2,10.9.7.77;IgnoreUnknown=1;K8S_POD_NAME=a"
        let previous = #"{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}]}"#
        let answer = try runtime.call(environment, Runtime.configuration(runtime.configuration(), previous: previous))
        // No pod's uid: of the container id.
        #expect(answer.addresses == ["10.1.0.2/24", "fd00:9:0:7:94e:372b:ee9b:5fec/128", "10.9.7.77/32"])
    }

    @Test func `a failure in the namespace gives the addresses back`() throws {
        let runtime = try Runtime()
        // Of a kind that leads nowhere, so that it overlaps with nothing, but has ours's place in the table.
        try runtime.ip("route add unreachable 10.9.7.0/24")
        let answer = try runtime.call("ADD", runtime.configuration())
        #expect(answer.status == 1 && answer.code == 103)
        #expect(answer.message.hasPrefix("add route 10.9.7.0/24 on warren0: EEXIST (File exists)"))
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
        #expect(try runtime.link() == nil)
        #expect(try runtime.call("DEL", runtime.configuration()).status == 0)
    }

    @Test func `an underlay too small for IPv6 is refused with the cure`() throws {
        let (runtime, host) = (try Runtime(), try ScratchNamespace())
        try runtime.addPrimary(mtu: 1300, host: host)
        let previous = #"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"\#(runtime.pod.path)"}]}"#
        let answer = try runtime.call("ADD", Runtime.configuration(runtime.configuration(), previous: previous))
        #expect(answer.code == 7 && answer.message.contains("eth0 has MTU 1300"))
        #expect(runtime.records.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `IPv6 turned off in the pod is turned on for our interface only`() throws {
        let runtime = try Runtime()
        try runtime.pod.run {
            for name in ["all", "default"] {
                try FileDescriptor(open: "/proc/sys/net/ipv6/conf/\(name)/disable_ipv6", O_WRONLY).writeAll([0x31])
            }
        }
        #expect(try runtime.call("ADD", runtime.configuration()).addresses.first == ipv6)
        let (ours, others) = try runtime.pod.run {
            let ours = try FileDescriptor(open: "/proc/sys/net/ipv6/conf/warren0/disable_ipv6", O_RDONLY).read(upTo: 1)
            let others = try FileDescriptor(open: "/proc/sys/net/ipv6/conf/lo/disable_ipv6", O_RDONLY).read(upTo: 1)
            return (ours, others)
        }
        #expect(ours == [0x30] && others == [0x31])
    }

    @Test func `a result that nobody can read is taken back`() throws {
        let runtime = try Runtime()
        let outcome = try runtime.start(runtime.environment("ADD"), runtime.configuration(), stdout: "/dev/full").wait()
        #expect(outcome.status == 1)
        #expect(outcome.diagnostics.contains("write result to stdout"))
        #expect(runtime.records.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `many at once get different addresses, and a full range fails cleanly`() throws {
        let runtime = try Runtime()
        let pods = try (0..<10).map { _ in try ScratchNamespace() }
        let configuration = runtime.configuration(range: "10.9.7.0/29")  // six addresses
        let running = try pods.enumerated().map { index, pod in
            try runtime.start(runtime.environment("ADD", container: "c\(index)", netns: pod.path), configuration)
        }
        let answers = try running.map { process in
            let outcome = try process.wait()
            return Runtime.Answer(status: outcome.status, output: outcome.output, diagnostics: outcome.diagnostics)
        }
        let given = answers.filter { $0.status == 0 }.flatMap(\.addresses)
        #expect(given.count == 12 && Set(given).count == 12)
        #expect(answers.filter { $0.status != 0 }.map(\.code) == [102, 102, 102, 102])
        #expect(runtime.records.count == 12)
        for index in pods.indices {
            let environment = runtime.environment("DEL", container: "c\(index)", netns: pods[index].path)
            #expect(try runtime.call(environment, configuration).status == 0)
        }
        #expect(runtime.records.isEmpty)
    }
}
