import Glibc
import Netlink
import TestSupport
import Testing

@testable import CNI

/// CHECK by the built program, before and after somebody tampered. Needs root.
@Suite struct CheckTests {
    @Test(arguments: CNIVersion.allCases)
    func `an attachment as ADD left it passes from 0.4.0 on`(version: CNIVersion) throws {
        let (runtime, host) = (try Runtime(), try ScratchNamespace())
        try runtime.addPrimary(mtu: 1450, host: host)
        let primary =
            #"{"cniVersion":"\#(version.rawValue)","interfaces":[{"name":"eth0","sandbox":"\#(runtime.pod.path)"}]}"#
        let configuration = runtime.configuration(version.rawValue)
        let added = try runtime.call("ADD", Runtime.configuration(configuration, previous: primary))
        #expect(added.status == 0)
        let answer = try runtime.call("CHECK", Runtime.configuration(configuration, previous: added.output))
        if version < .v0_4_0 {
            #expect(answer.status == 1 && answer.code == 1)
        } else {
            #expect(answer.status == 0 && answer.output.isEmpty)
        }
    }

    @Test(arguments: [
        ("link delete warren0", "it does not exist"),
        ("link set warren0 mtu 1300", "its MTU is 1300 instead of 1400"),
        ("link set warren0 down", "it is down"),
        ("address delete 10.9.7.1/32 dev warren0", "address 10.9.7.1/32 is missing"),
        ("-6 address flush dev warren0", "address fd00:9:0:7:a8de:4ddf:bc73:d709/128 is missing"),
        ("route delete 10.9.7.0/24", "route 10.9.7.0/24 is missing"),
        ("-6 route delete fd00:9::/48", "route fd00:9::/48 is missing"),
        ("address delete 169.254.53.53/32 dev lo", "address 169.254.53.53 of lo is missing"),
        ("address delete fd00:9::53/128 dev lo", "address fd00:9::53 of lo is missing"),
        ("link set lo down", "lo is down"),
    ])
    func `what was tampered with is named`(command: String, fault: String) throws {
        let runtime = try Runtime()
        let added = try runtime.call("ADD", runtime.configuration())
        try runtime.ip(command)
        let answer = try runtime.call("CHECK", Runtime.configuration(runtime.configuration(), previous: added.output))
        #expect(answer.status == 1 && answer.code == 104)
        #expect(answer.message == "check warren0: \(fault)")
    }

    @Test(arguments: [
        ("tuntap add dev warren0 mode tun vnet_hdr user 1000", "its owner is uid 1000 instead of uid 64738"),
        ("tuntap add dev warren0 mode tun vnet_hdr", "its owner is not set instead of uid 64738"),
        ("tuntap add dev warren0 mode tun vnet_hdr multi_queue user 64738", "it has several queues"),
        ("tuntap add dev warren0 mode tap user 64738", "it is a TAP and not a TUN"),
    ])
    func `a device that somebody else may attach to is named`(command: String, fault: String) throws {
        let runtime = try Runtime()
        let added = try runtime.call("ADD", runtime.configuration())
        try runtime.ip("link delete warren0")
        try runtime.ip(command)
        let answer = try runtime.call("CHECK", Runtime.configuration(runtime.configuration(), previous: added.output))
        #expect(answer.code == 104 && answer.message == "check warren0: \(fault)")
    }

    @Test func `an interface of another kind is named`() throws {
        let (runtime, host) = (try Runtime(), try ScratchNamespace())
        let added = try runtime.call("ADD", runtime.configuration())
        try runtime.ip("link delete warren0")
        try runtime.addPrimary("warren0", mtu: 1400, host: host)
        let answer = try runtime.call("CHECK", Runtime.configuration(runtime.configuration(), previous: added.output))
        #expect(answer.code == 104 && answer.message == "check warren0: it is a veth and not a TUN")
    }

    @Test func `a record that is missing or another's is a difference`() throws {
        let runtime = try Runtime()
        let added = try runtime.call("ADD", runtime.configuration())
        let checked = Runtime.configuration(runtime.configuration(), previous: added.output)
        // The file has two names, one for each address.
        #expect(unsafe unlink("\(runtime.folder.path)/networks/mesh/10.9.7.1") == 0)
        try runtime.folder.write("other\r\neth0", to: "networks/mesh/10.9.7.1")
        let answer = try runtime.call("CHECK", checked)
        #expect(answer.code == 104 && answer.message.hasSuffix("the store has fd00:9:0:7:a8de:4ddf:bc73:d709"))
        #expect(unsafe unlink("\(runtime.folder.path)/networks/mesh/fd00:9:0:7:a8de:4ddf:bc73:d709") == 0)
        #expect(try runtime.call("CHECK", checked).message.hasSuffix("the store has none"))
        #expect(unsafe unlink("\(runtime.folder.path)/attachments/mesh/abc:eth0") == 0)
        #expect(try runtime.call("CHECK", checked).message.hasSuffix("the store has none"))
    }

    @Test func `a previous result without our interface is a difference`() throws {
        let runtime = try Runtime()
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
        let answer = try runtime.call(
            "CHECK", Runtime.configuration(runtime.configuration(), previous: #"{"cniVersion":"1.0.0"}"#))
        #expect(answer.code == 104 && answer.message.contains("prevResult has no such interface"))
    }
}
