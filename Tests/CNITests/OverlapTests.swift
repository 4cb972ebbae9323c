import Netlink
import TestSupport
import Testing

@testable import CNI

/// A mesh whose ranges somebody else uses, seen by the built program. Needs root.
@Suite struct OverlapTests {
    private let runtime: Runtime

    init() throws { runtime = try Runtime() }

    private func refusal(_ previous: String? = nil) throws -> String {
        let text = runtime.configuration()
        let answer = try runtime.call("ADD", previous.map { Runtime.configuration(text, previous: $0) } ?? text)
        #expect(answer.status == 1 && answer.code == 106, "\(answer.output)")
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
        #expect(try runtime.link() == nil)
        return answer.message
    }

    @Test func `with the primary plugin's addresses`() throws {
        #expect(
            try refusal(#"{"cniVersion":"1.0.0","ips":[{"address":"10.9.1.2/16"}]}"#)
                == "route 10.9.7.0/24 into warren0: it overlaps 10.9.0.0/16 of the previous result")
    }

    @Test func `with the pod's addresses and routes`() throws {
        let host = try ScratchNamespace()
        try runtime.addPrimary(mtu: 1500, host: host)
        try runtime.ip("link set eth0 up")
        try runtime.ip("address add 10.9.7.200/32 dev eth0")
        #expect(try refusal() == "route 10.9.7.0/24 into warren0: it overlaps 10.9.7.200/32 of the pod's eth0")
        try runtime.ip("address replace 10.1.0.2/24 dev eth0")
        try runtime.ip("address delete 10.9.7.200/32 dev eth0")
        try runtime.ip("route add 10.0.0.0/8 via 10.1.0.1")
        #expect(try refusal() == "route 10.9.7.0/24 into warren0: it overlaps 10.0.0.0/8 of the pod's route by eth0")
        try runtime.ip("route delete 10.0.0.0/8")
        try runtime.ip("-6 route add fd00::/16 dev eth0")
        #expect(try refusal() == "route fd00:9::/48 into warren0: it overlaps fd00::/16 of the pod's route by eth0")
        // A default route is in everybody's way.
        try runtime.ip("-6 route delete fd00::/16")
        try runtime.ip("route add default via 10.1.0.1")
        #expect(try runtime.call("ADD", runtime.configuration()).status == 0)
    }

    @Test func `with the host's addresses, but for an agent's in the mesh`() throws {
        // The plugin's own namespace is the host's: another one, here.
        let host = try ScratchNamespace()
        func add() throws -> Runtime.Answer {
            let outcome = try runtime.start(
                runtime.environment("ADD"), runtime.configuration(),
                through: ["/usr/bin/nsenter", "--net=\(host.path)"]
            ).wait()
            return Runtime.Answer(status: outcome.status, output: outcome.output, diagnostics: outcome.diagnostics)
        }
        func ip(_ arguments: String) throws {
            let words = arguments.split(separator: " ").map(String.init)
            let outcome = try ChildProcess(
                "/usr/bin/nsenter", ["--net=\(host.path)", "ip"] + words,
                environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
            ).wait()
            #expect(outcome.status == 0, "\(outcome.diagnostics)")
        }
        try ip("link add br0 type bridge")
        try ip("address add 10.9.7.1/24 dev br0")
        let refused = try add()
        #expect(refused.code == 106)
        #expect(refused.message == "route 10.9.7.0/24 into warren0: it overlaps 10.9.7.0/24 of the host's br0")
        try ip("link delete br0")
        try ip("tuntap add dev warren0 mode tun user 64738")
        try ip("address add 10.9.7.1/24 dev warren0")
        #expect(try add().status == 0)
    }
}
