import Addressing
import Glibc
import Netlink
import TestSupport
import Testing

@testable import CNI

/// Addresses by another IPAM plugin, through the built program: Debian's host-local, and one of the tests' own that can
/// misbehave (`Tests/Delegates`). Needs root and containernetworking-plugins.
@Suite struct DelegationTests {
    private let runtime: Runtime
    private let delegates = #filePath.split(separator: "/").dropLast(2).map { "/\($0)" }.joined() + "/Delegates"

    init() throws { runtime = try Runtime() }

    private func environment(_ command: String) -> [String: String] {
        runtime.environment(command).merging([
            "CNI_PATH": "/nowhere:\(delegates):/usr/lib/cni", "PATH": "/usr/bin:/bin",
        ]) {
            $1
        }
    }

    private func configuration(_ version: String = "1.1.0", _ ipam: String = "", _ more: String = "") -> String {
        let ipam = #""type":"warren-test-ipam","folder":"\#(runtime.folder.path)"\#(ipam.isEmpty ? "" : ",\(ipam)")"#
        return runtime.configuration(version, range: nil, #""ipam":{\#(ipam)}\#(more.isEmpty ? "" : ",\(more)")"#)
    }

    private var calls: [String] { runtime.folder.text("calls").split(separator: "\n").map(String.init) }

    @Test(arguments: CNIVersion.allCases)
    func `its addresses, routes and DNS become ours`(version: CNIVersion) throws {
        let text = configuration(version.rawValue)
        let added = try runtime.call(environment("ADD"), text)
        #expect(added.status == 0, "\(added.output)")
        #expect(added.addresses == ["10.9.7.5/24", "fd00:9::5/64"])
        #expect(added.json?["dns"]?["nameservers"] == .array([.string("10.9.7.1")]))
        #expect(added.json?["routes"]?.elements?.map { $0["dst"]?.text } == ["fd00:9::/48", "10.8.0.0/16"])
        let versions = added.json?["ips"]?.elements?.map { $0["version"]?.text }
        #expect(versions == (version < .v1_0_0 ? ["4", "6"] : [nil, nil]))
        #expect(added.diagnostics == "test ipam: ADD\n")
        let (present, routes) = try runtime.pod.run {
            var socket = try RouteSocket()
            return (try socket.addresses(), try socket.routes())
        }
        // The delegate's, and those of the pod's resolver on lo.
        let ours = Set(present.map(\.prefix)).filter {
            $0.address != IPAddress("127.0.0.1") && $0.address != IPAddress("::1")
        }
        let resolver = [IPPrefix("169.254.53.53/32")!, IPPrefix("fd00:9::53/128")!]
        #expect(ours == Set([IPPrefix("10.9.7.5/24")!, IPPrefix("fd00:9::5/64")!] + resolver))
        #expect(routes.contains { $0.destination == IPPrefix("10.8.0.0/16") })
        // Its books are its own.
        #expect(runtime.records.isEmpty && runtime.attachments == ["abc:eth0"])
        if version >= .v0_4_0 {
            let check = try runtime.call(environment("CHECK"), Runtime.configuration(text, previous: added.output))
            #expect(check.status == 0, "\(check.output)")
        }
        let deleted = try runtime.call(environment("DEL"), Runtime.configuration(text, previous: added.output))
        #expect(deleted.status == 0 && deleted.output.isEmpty)
        #expect(calls.last == "DEL abc eth0" && runtime.attachments.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `it sees our configuration and the CNI variables, and nothing else`() throws {
        var environment = environment("ADD")
        environment["LD_LIBRARY_PATH"] = "/opt/containerd/lib"
        #expect(try runtime.call(environment, configuration()).status == 0)
        #expect(runtime.folder.text("stdin.ADD") == configuration())
        let seen = runtime.folder.text("environment.ADD")
        for name in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "PATH"] {
            #expect(seen.contains("\(name)=\(environment[name] ?? "")\n"), "\(name)")
        }
        #expect(!seen.contains("HTTPS_PROXY") && !seen.contains("LD_LIBRARY_PATH"))
    }

    @Test func `each verb is forwarded`() throws {
        let list = #""cni.dev/valid-attachments":[]"#
        #expect(try runtime.call(environment("STATUS"), configuration()).status == 0)
        #expect(try runtime.call(environment("GC"), configuration("1.1.0", "", list)).status == 0)
        #expect(runtime.folder.text("stdin.GC").contains(list))
        // Without a record too: its ADD may have been our last act.
        #expect(try runtime.call(environment("DEL"), configuration()).status == 0)
        #expect(calls.map { $0.prefix { $0 != " " } } == ["STATUS", "GC", "DEL"])
    }

    @Test func `its own error is ours, with its code`() throws {
        let refusal = #""code":"11","refuses":"ADD""#
        let answer = try runtime.call(environment("ADD"), configuration("1.0.0", refusal))
        #expect(answer.status == 1 && answer.code == 11)
        #expect(answer.message == "warren-test-ipam ADD: no leases left")
        #expect(answer.json?["details"] == .string("asked 3 servers; ADD of container abc interface eth0"))
        #expect(calls == ["ADD abc eth0", "DEL abc eth0"])
        #expect(try runtime.link() == nil && runtime.attachments.isEmpty)
        let status = try runtime.call(environment("STATUS"), configuration("1.1.0", #""code":"50","refuses":"STATUS""#))
        #expect(status.status == 1 && status.code == 50)
        // What it can't delete must not stop the chain; what it has never heard of is no error.
        let deleted = try runtime.call(environment("DEL"), configuration("1.0.0", #""code":"999","refuses":"DEL""#))
        #expect(deleted.status == 0 && deleted.diagnostics.contains("warren-test-ipam DEL: no leases left"))
        for verb in ["GC", "STATUS"] {
            let list = #""cni.dev/valid-attachments":[]"#
            let old = configuration("1.1.0", #""code":"4","refuses":"\#(verb)""#, list)
            #expect(try runtime.call(environment(verb), old).status == 0)
        }
    }

    @Test(arguments: [
        ("silent", "read result of warren-test-ipam ADD"), ("garbage", "read result of warren-test-ipam ADD"),
        ("empty", "no address"), ("crash", "ended with signal 11 and no error object"), ("flood", "File too large"),
    ])
    func `one that misbehaves fails ADD, and is told to forget it`(mode: String, message: String) throws {
        let answer = try runtime.call(environment("ADD"), configuration("1.0.0", #""mode":"\#(mode)""#))
        #expect(answer.status == 1 && answer.code == 107)
        #expect(answer.message.contains(message), "\(answer.message)")
        #expect(calls == ["ADD abc eth0", "DEL abc eth0"])
        #expect(try runtime.link() == nil && runtime.attachments.isEmpty)
    }

    @Test func `when we fail after it, it is told to forget`() throws {
        try runtime.ip("route add unreachable 10.8.0.0/16")
        let answer = try runtime.call(environment("ADD"), configuration())
        #expect(answer.status == 1 && answer.code == 103)
        #expect(calls == ["ADD abc eth0", "DEL abc eth0"])
        #expect(try runtime.link() == nil && runtime.attachments.isEmpty)
    }

    @Test func `a second ADD does not reach it, so that undoing can't take the first's`() throws {
        #expect(try runtime.call(environment("ADD"), configuration()).status == 0)
        #expect(try runtime.call(environment("ADD"), configuration()).code == 100)
        #expect(calls == ["ADD abc eth0"])
    }

    @Test(arguments: ["0.3.1", "0.4.0", "1.0.0"])
    func `host-local gives addresses and takes them back`(version: String) throws {
        let books = "\(runtime.folder.path)/host-local"
        let text = runtime.configuration(
            version, range: nil,
            #""ipam":{"type":"host-local","dataDir":"\#(books)","ranges":[[{"subnet":"10.9.7.0/29"}]]}"#)
        let added = try runtime.call(environment("ADD"), text)
        #expect(added.status == 0, "\(added.output)")
        #expect(added.addresses == ["10.9.7.2/29"])
        #expect(runtime.folder.names("host-local/mesh").contains("10.9.7.2"))
        if version != "0.3.1" {
            let check = try runtime.call(environment("CHECK"), Runtime.configuration(text, previous: added.output))
            #expect(check.status == 0, "\(check.output)")
        }
        #expect(try runtime.call(environment("DEL"), text).status == 0)
        #expect(!runtime.folder.names("host-local/mesh").contains("10.9.7.2"))
    }
}
