import Glibc
import Linux
import Netlink
import TestSupport
import Testing

@testable import CNI

/// The built program against bad input and hostile surroundings. Needs root.
@Suite struct ProgramTests {
    @Test func `run by hand it explains itself on stderr and succeeds`() throws {
        let answer = try Runtime().call([:], "")
        #expect(answer.status == 0 && answer.output.isEmpty)
        #expect(answer.diagnostics.contains("CNI protocol versions supported"))
    }

    @Test(arguments: CNIVersion.allCases)
    func `VERSION works in podman's dummy environment`(version: CNIVersion) throws {
        let dummy = ["CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy"]
        let answer = try Runtime().call(dummy, #"{"cniVersion":"\#(version.rawValue)"}"#)
        #expect(answer.status == 0)
        #expect(
            answer.output
                == #"{"cniVersion":"\#(version.rawValue)","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#
        )
    }

    @Test func `each kind of bad input is one error object on stdout, and nothing is made`() throws {
        let runtime = try Runtime()
        let good = runtime.configuration()
        let add = runtime.environment("ADD")
        func with(_ name: String, _ value: String) -> [String: String] { add.merging([name: value]) { $1 } }
        let cases: [(String, [String: String], String, Int64, String)] = [
            ("malformed JSON", add, #"{"cniVersion":"#, 6, "decode network configuration: not valid JSON"),
            ("no input", add, "", 6, "decode network configuration: not valid JSON"),
            ("too much input", add, String(repeating: " ", count: 1 << 21), 6, "longer than 1048576 bytes"),
            ("wrong type", add, #"{"cniVersion":"1.0.0","name":["mesh"]}"#, 6, "key name is not of type string"),
            ("unknown command", with("CNI_COMMAND", "UPDATE"), good, 4, "unknown command UPDATE"),
            (
                "missing variables", ["CNI_COMMAND": "ADD"], good, 4,
                "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"
            ),
            ("container id", with("CNI_CONTAINERID", "../../etc"), good, 4, "read CNI_CONTAINERID ../../etc"),
            ("ifname", with("CNI_IFNAME", "eth0/../x"), good, 4, "read CNI_IFNAME eth0/../x"),
            ("arguments", with("CNI_ARGS", "K8S_POD_NAME"), good, 4, "read CNI_ARGS: K8S_POD_NAME is not KEY=VALUE"),
            ("version", add, runtime.configuration("0.2.0"), 1, "read cniVersion 0.2.0: incompatible"),
            ("network name", add, good.replacing("mesh\",\"type", with: "../m\",\"type"), 7, "read name ../m"),
            ("range", add, runtime.configuration(range: "10.9.7.0"), 7, "read ipv4Range 10.9.7.0"),
            ("root as owner", add, good.replacing("64738", with: "0"), 7, "read ownerUid: 0 is root"),
            ("IPAM twice", add, runtime.configuration("1.0.0", #""ipam":{"type":"dhcp"}"#), 7, "read ipv4Range"),
            (
                "IPAM", add, runtime.configuration("1.0.0", range: nil, #""ipam":{"type":"warren-none"}"#), 107,
                "find plugin warren-none: not in CNI_PATH [/opt/cni/bin]"
            ),
            (
                "IPAM's path", add, runtime.configuration("1.0.0", range: nil, #""ipam":{"type":"../../bin/sh"}"#), 7,
                "read ipam.type ../../bin/sh"
            ),
            (
                "namespace", with("CNI_NETNS", "/run/netns/warren-test-none"), good, 8,
                "/run/netns/warren-test-none: ENOENT"
            ),
            ("no namespace", with("CNI_NETNS", "/proc/self/status"), good, 8, "/proc/self/status"),
            ("other namespace", with("CNI_NETNS", "/proc/self/ns/uts"), good, 8, "/proc/self/ns/uts"),
            ("own namespace", with("CNI_NETNS", "/proc/self/ns/net"), good, 8, "the plugin's own network namespace"),
        ]
        for (name, environment, input, code, message) in cases {
            let answer = try runtime.call(environment, input)
            #expect(answer.status == 1, "\(name)")
            #expect(answer.code == code, "\(name): \(answer.output)")
            #expect(answer.message.contains(message), "\(name): \(answer.output)")
            #expect(answer.json?["cniVersion"]?.text != nil, "\(name)")
            #expect(answer.diagnostics.isEmpty, "\(name)")
        }
        #expect(runtime.records.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test func `inherited descriptors are closed before anything is read`() throws {
        let runtime = try Runtime()
        let leaked = unsafe open("/dev/null", O_RDONLY)  // without O_CLOEXEC: the program inherits it
        defer { _ = close(leaked) }
        var ends: [Int32] = [0, 0]
        #expect(unsafe pipe(&ends) == 0)
        let process = try runtime.start(runtime.environment("ADD"), "", stdin: ends[0])
        defer { process.stop() }
        var open: Set<String> = []
        for _ in 0..<1000 where open != ["0", "1", "2"] {
            usleep(5000)
            open = Set(ScratchFolder.names("/proc/\(process.pid)/fd"))
        }
        #expect(open == ["0", "1", "2"])
        for end in ends { _ = close(end) }
    }

    @Test func `a user namespace maps the owner's uid`() throws {
        let runtime = try Runtime()
        let holder = try NamespaceHolder(map: "0 131072 65536")
        let environment = runtime.environment("ADD", netns: holder.netns)
        let added = try runtime.call(environment, runtime.configuration())
        #expect(added.status == 0, "\(added.output)")
        let link = try NetworkNamespace(path: holder.netns).run {
            var socket = try RouteSocket()
            return try socket.link(named: "warren0")
        }
        #expect(link?.tun?.owner == UInt32(131072 + 64738))
        let checked = Runtime.configuration(runtime.configuration(), previous: added.output)
        let check = try runtime.call(runtime.environment("CHECK", netns: holder.netns), checked)
        #expect(check.status == 0, "\(check.output)")
        let record = try AttachmentFolder(dataDir: runtime.folder.path)
            .record(of: Store.Holder(containerID: "abc", ifName: "eth0"), in: "mesh")
        #expect(record?.ownerUid == UInt32(131072 + 64738))
        #expect(try runtime.call(runtime.environment("DEL", netns: holder.netns), checked).status == 0)
        #expect(runtime.records.isEmpty)
    }

    @Test func `a user namespace that does not map the owner is refused, with nothing left behind`() throws {
        let runtime = try Runtime()
        let holder = try NamespaceHolder(map: "0 131072 1000")
        let answer = try runtime.call(runtime.environment("ADD", netns: holder.netns), runtime.configuration())
        #expect(answer.status == 1 && answer.code == 105, "\(answer.output)")
        #expect(answer.message.contains("the pod's user namespace maps no such uid"))
        #expect(runtime.records.isEmpty)
        let link = try NetworkNamespace(path: holder.netns).run {
            var socket = try RouteSocket()
            return try socket.link(named: "warren0")
        }
        #expect(link == nil)
    }
}
