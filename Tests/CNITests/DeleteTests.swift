import Glibc
import Netlink
import TestSupport
import Testing

@testable import CNI

/// DEL by the built program. Needs root.
@Suite struct DeleteTests {
    @Test(arguments: CNIVersion.allCases)
    func `it removes interface and addresses, and says nothing`(version: CNIVersion) throws {
        let runtime = try Runtime()
        let added = try runtime.call("ADD", runtime.configuration(version.rawValue))
        #expect(added.status == 0)
        let answer = try runtime.call(
            "DEL", Runtime.configuration(runtime.configuration(version.rawValue), previous: added.output))
        #expect(answer.status == 0 && answer.output.isEmpty && answer.diagnostics.isEmpty)
        #expect(runtime.records.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `the second time there is neither namespace nor previous result, and that is fine`() throws {
        let runtime = try Runtime()
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        #expect(try runtime.call("DEL", runtime.configuration()).status == 0)
        var environment = runtime.environment("DEL")
        environment["CNI_NETNS"] = ""
        let answer = try runtime.call(environment, runtime.configuration())
        #expect(answer.status == 0 && answer.output.isEmpty && answer.diagnostics.isEmpty)
    }

    @Test(arguments: ["", "/run/netns/warren-test-gone", "/dev/null", "/proc/self/status", "/proc/self/ns/uts"])
    func `a namespace that is gone, or none, still frees the addresses`(netns: String) throws {
        let runtime = try Runtime()
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        var environment = runtime.environment("DEL")
        environment["CNI_NETNS"] = netns
        #expect(try runtime.call(environment, runtime.configuration()).status == 0)
        #expect(runtime.records.isEmpty)
    }

    @Test func `it needs nothing of ADD's configuration but the network's name`() throws {
        let runtime = try Runtime()
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        let least =
            #"{"cniVersion":"1.0.0","name":"mesh","mesh":"nonsense","ownerUid":0,"dataDir":"\#(runtime.folder.path)"}"#
        #expect(try runtime.call("DEL", least).status == 0)
        #expect(runtime.records.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `without a store the interface still goes`() throws {
        let (runtime, elsewhere) = (try Runtime(), try ScratchFolder())
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        let text = #"{"cniVersion":"1.0.0","name":"mesh","dataDir":"\#(elsewhere.path)/none"}"#
        #expect(try runtime.call("DEL", text).status == 0)
        #expect(try runtime.link() == nil)
    }

    @Test func `an interface that is no TUN is left alone`() throws {
        let (runtime, host) = (try Runtime(), try ScratchNamespace())
        try runtime.addPrimary("warren0", mtu: 1500, host: host)
        #expect(try runtime.call("DEL", runtime.configuration()).status == 0)
        #expect(try runtime.link()?.kind == "veth")
    }

    @Test func `the plugin's own namespace is left alone`() throws {
        let runtime = try Runtime()
        let own = runtime.environment("DEL", netns: "/proc/self/ns/net")
        let answer = try runtime.call(own, runtime.configuration())
        #expect(answer.status == 0 && answer.diagnostics.contains("own namespace"))
    }

    @Test func `the namespace is the one that ADD saw, whatever DEL is told`() throws {
        let (runtime, other) = (try Runtime(), try ScratchNamespace())
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        let answer = try runtime.call(runtime.environment("DEL", netns: other.path), runtime.configuration())
        #expect(answer.status == 0 && answer.diagnostics.isEmpty)
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `a record for another namespace at the same path does not reach into this one`() throws {
        let runtime = try Runtime()
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        let file = "attachments/mesh/abc:eth0"
        let record = try AttachmentRecord(parsing: Array(#require(runtime.folder.read(file)).utf8))
        var changed = record
        changed.netns = AttachmentRecord.Netns(
            path: record.netns.path, inode: record.netns.inode ^ 1, device: record.netns.device)
        try runtime.folder.write(String(decoding: changed.json.serialized(), as: UTF8.self), to: file)
        #expect(try runtime.call("DEL", runtime.configuration()).status == 0)
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
        #expect(try runtime.link() != nil)
    }

    @Test func `unparsable input is its only refusal`() throws {
        let runtime = try Runtime()
        #expect(try runtime.call("DEL", "{").code == 6)
        #expect(try runtime.call("DEL", #"{"cniVersion":"1.0.0","name":"a/b"}"#).code == 7)
    }

    @Test func `garbage collection frees what is not listed, and nothing without a list`() throws {
        let (runtime, other) = (try Runtime(), try ScratchNamespace())
        #expect(try runtime.call("ADD", runtime.configuration("1.1.0")).status == 0)
        let stale = runtime.environment("ADD", container: "stale", netns: other.path)
        #expect(try runtime.call(stale, runtime.configuration("1.1.0")).status == 0)
        #expect(runtime.records.count == 4)
        let collect = ["CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"]
        let pods = (runtime.pod, other)
        #expect(try runtime.call(collect, runtime.configuration("1.1.0")).status == 0)
        #expect(runtime.records.count == 4)
        let list = #""cni.dev/valid-attachments":[{"containerID":"abc","ifname":"eth0"}]"#
        #expect(try runtime.call(collect, runtime.configuration("1.1.0", list)).status == 0)
        #expect(runtime.records == ["10.9.7.1", "fd00:9:0:7:a8de:4ddf:bc73:d709"])
        #expect(runtime.attachments == ["abc:eth0"])
        // A live interface must not keep addresses that are given to the next.
        #expect(try pods.0.link("warren0") != nil)
        #expect(try pods.1.link("warren0") == nil)
        #expect(try runtime.call(collect, runtime.configuration("1.1.0", #""cni.dev/attachments":[]"#)).status == 0)
        #expect(runtime.records.isEmpty)
    }

    @Test func `status is 50 when the range is full or the store can't be made`() throws {
        let runtime = try Runtime()
        let status = ["CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"]
        let small = runtime.configuration("1.1.0", range: "10.9.7.1/32")
        #expect(try runtime.call(status, small).status == 0)
        #expect(try runtime.call("ADD", small).status == 0)
        #expect(try runtime.call(status, small).code == 50)
        let nowhere = #"{"cniVersion":"1.1.0","name":"mesh","mesh":"fd00:9::/48","node":7,"dataDir":"/proc/none"}"#
        #expect(try runtime.call(status, nowhere).code == 50)
    }
}
