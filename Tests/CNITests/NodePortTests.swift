import Addressing
import Glibc
import Linux
import Netlink
import NodePorts
import TestSupport
import Testing

@testable import CNI

/// The node port map by the built program, whose own namespace is a node of the test's. Needs root.
@Suite struct NodePortTests {
    private let node: ScratchNamespace
    private let runtime: Runtime

    init() throws {
        node = try ScratchNamespace()
        runtime = try Runtime()
    }

    private func configuration(
        _ version: String = "1.0.0", range: String = "31000-31099", namespaces: String = #""default""#,
        previous address: String? = "10.1.0.2/24", _ more: String = ""
    ) -> String {
        let ports = #""nodePorts":{"range":"\#(range)","namespaces":[\#(namespaces)]}"#
        let text = runtime.configuration(version, more.isEmpty ? ports : "\(ports),\(more)")
        guard let address else { return text }
        let previous =
            #"{"cniVersion":"1.0.0","interfaces":[{"name":"h0"},{"name":"eth0","sandbox":"\#(runtime.pod.path)"}],"#
            + #""ips":[{"address":"fd01::2/64","interface":1},{"address":"\#(address)","interface":1}]}"#
        return Runtime.configuration(text, previous: previous)
    }

    private func call(_ command: String, container: String = "abc", netns: String? = nil, _ text: String) throws
        -> Runtime.Answer
    {
        let environment = environment(command, container: container, netns: netns)
        return try node.run { [runtime] in try runtime.call(environment, text) }
    }

    /// Each container is another pod.
    private func environment(_ command: String, container: String, netns: String?) -> [String: String] {
        let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=\(container);K8S_POD_UID=\(container)"
        return runtime.environment(command, container: container, netns: netns).merging(["CNI_ARGS": pod]) { $1 }
    }

    private var map: PortMap { PortMap(folder: "\(runtime.folder.path)/node-ports") }

    private func nft(_ words: String...) throws -> String {
        let environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
        return try node.run { try ChildProcess("/usr/sbin/nft", words, environment: environment).wait().output }
    }

    @Test func `the pod gets a port, is told of it, and leaves nothing of it behind`() throws {
        let added = try call("ADD", configuration())
        #expect(added.status == 0, "\(added.output)")
        let records = try map.records()
        #expect(records.map(\.port) == [NodePort(31000, pod: IPv4Address(10, 1, 0, 2), podPort: 51820)])
        #expect(records.map(\.holder) == [PortHolder(network: "mesh", containerID: "abc", ifName: "eth0")])
        #expect(try runtime.link()?.alias == "warren node-port 31000 udp 51820")
        #expect(try nft("list", "map", "ip", "warren", "inbound").contains("31000 : 10.1.0.2 . 51820"))
        // Whatever the configuration says by then, and twice.
        for _ in 0..<2 { #expect(try call("DEL", runtime.configuration()).status == 0) }
        #expect(try map.records().isEmpty)
        #expect(try !nft("list", "ruleset").contains("51820"))
    }

    @Test func `pods of other namespaces, and those without an IPv4 address, get none`() throws {
        for text in [
            configuration(namespaces: #""agents""#), configuration(namespaces: ""), configuration(previous: nil),
        ] {
            #expect(try call("ADD", text).status == 0)
            #expect(try runtime.link()?.alias == nil)
            #expect(try call("DEL", text).status == 0)
        }
        #expect(try map.records().isEmpty && nft("list", "ruleset").isEmpty)
        #expect(try call("ADD", configuration(namespaces: #""agents","*""#)).status == 0)
        #expect(try map.records().count == 1)
        _ = try call("DEL", configuration())
    }

    @Test func `what is wrong in the configuration is named, and nothing is made`() throws {
        for (value, message) in [
            (#""31000-31099""#, "read nodePorts: not an object"), ("{}", "read nodePorts: no range"),
            (#"{"range":"31000"}"#, "range 31000 is not FIRST-LAST"), (#"{"range":"9-8"}"#, "range 9-8"),
            (#"{"range":"1000-2000"}"#, "below 1024"), (#"{"range":"31000-31001","port":70000}"#, "port is not a port"),
            (#"{"range":"31000-31001","port":0}"#, "the pods' port is 0"),
            (#"{"range":"31000-31001","namespaces":"*"}"#, "namespaces is not an array"),
            (#"{"range":"31000-31001","except":["fd00::/8"]}"#, "fd00::/8 is no IPv4 network"),
            (#"{"range":"31000-31001","except":["x"]}"#, "except x is not a network"),
        ] {
            let answer = try call("ADD", runtime.configuration("1.0.0", #""nodePorts":\#(value)"#))
            #expect(answer.code == 7 && answer.message.contains(message), "\(value): \(answer.output)")
        }
        #expect(try runtime.records.isEmpty && map.records().isEmpty && runtime.link() == nil)
    }

    @Test func `an exhausted range is one clear error, with nothing left behind`() throws {
        let other = try ScratchNamespace()
        #expect(try call("ADD", configuration(range: "31000-31000")).status == 0)
        let records = runtime.records
        let answer = try call("ADD", container: "second", netns: other.path, configuration(range: "31000-31000"))
        #expect(answer.code == 102)
        #expect(answer.message == "reserve a node port of 31000-31000 for container second: all are taken")
        #expect(try runtime.records == records && map.records().count == 1)
        #expect(try other.link("warren0") == nil)
    }

    @Test func `an ADD that fails later gives the port back`() throws {
        try runtime.ip("link add warren0 type bridge")
        #expect(try call("ADD", configuration()).code == 100)
        #expect(try map.records().isEmpty)
        #expect(try !nft("list", "ruleset").contains("51820"))
    }

    @Test func `garbage collection frees what is not listed, and brings back what somebody emptied`() throws {
        let other = try ScratchNamespace()
        #expect(try call("ADD", configuration()).status == 0)
        let second = try call("ADD", container: "stale", netns: other.path, configuration(previous: "10.1.0.3/24"))
        #expect(second.status == 0)
        _ = try nft("flush", "ruleset")
        let list = #""cni.dev/valid-attachments":[{"containerID":"abc","ifname":"eth0"}]"#
        #expect(try call("GC", configuration("1.1.0", previous: nil, list)).status == 0)
        #expect(try map.records().map(\.holder.containerID) == ["abc"])
        let rules = try nft("list", "ruleset")
        #expect(rules.contains("31000 : 10.1.0.2 . 51820") && !rules.contains("10.1.0.3"))
    }

    @Test(.timeLimit(.minutes(2)))
    func `killed at any time it gives no port twice, and its DEL and GC leave nothing`() throws {
        let start = ContinuousClock.now
        #expect(try call("ADD", container: "first", configuration()).status == 0)
        let whole = (ContinuousClock.now - start) / .microseconds(1)
        #expect(try call("DEL", container: "first", configuration()).status == 0)
        var survivors: [String] = []
        for number in 0..<60 {
            let pod = try ScratchNamespace()
            let text = configuration(previous: "10.1.0.\(number + 2)/24")
            let environment = environment("ADD", container: "c\(number)", netns: pod.path)
            let process = try node.run { [runtime] in try runtime.start(environment, text) }
            usleep(UInt32(whole * 1.2 * Double(number) / 60))
            kill(process.pid, SIGKILL)
            let outcome = try process.wait()
            if outcome.status == 0 { survivors.append("c\(number)") }
            if number.isMultiple(of: 3) {
                #expect(try call("DEL", container: "c\(number)", netns: pod.path, text).status == 0)
            }
        }
        let last = try call("ADD", container: "last", configuration())
        #expect(last.status == 0, "\(last.output)")
        // No two of the kernel's elements have one port or one pod.
        let records = try map.records()
        #expect(Set(records.map(\.port.pod)).count == records.count)
        let list = #""cni.dev/valid-attachments":[{"containerID":"last","ifname":"eth0"}]"#
        #expect(try call("GC", configuration("1.1.0", previous: nil, list)).status == 0)
        #expect(try map.records().map(\.holder.containerID) == ["last"])
        let elements = try nft("list", "map", "ip", "warren", "outbound")
        #expect(elements.split(separator: ". 51820 :").count == 2, "\(elements)")
        #expect(try call("DEL", container: "last", configuration()).status == 0)
        #expect(try !nft("list", "ruleset").contains(". 51820 :"))
        print("killed 60 times, \(survivors.count) had finished before")
    }

    @Test(.timeLimit(.minutes(3)))
    func `hundred thousand flows of the node do not slow an ADD`() throws {
        let place = node
        // The first makes the table, and with it the kernel begins to track.
        try Self.adds(3, self, "warm")
        let (plain, mapped) = (try Self.adds(8, self, "plain", isMapped: false), try Self.adds(8, self, "few"))
        try place.run { try Self.ip("link set lo up") }
        try place.run { try Self.fill(100_000) }
        let count = try place.run {
            try FileDescriptor(open: "/proc/sys/net/netfilter/nf_conntrack_count", O_RDONLY).read(upTo: 20)
        }
        #expect(Int(String(decoding: count.dropLast(), as: UTF8.self)) ?? 0 >= 100_000)
        let crowded = try Self.adds(8, self, "crowd")
        func text(_ times: [Double]) -> String {
            "min \(times.min() ?? 0) median \(times.sorted()[times.count / 2]) ms"
        }
        print("ADD without node port \(text(plain)); with \(text(mapped)); with 100,000 flows \(text(crowded))")
        // Generous, for a loaded machine: what looks through all the flows takes 80 ms and more.
        #expect((crowded.min() ?? .infinity) < (mapped.min() ?? 0) + 60)
    }

    /// How long so many ADDs take, in milliseconds.
    @discardableResult
    private static func adds(
        _ count: Int, _ suite: NodePortTests, _ name: String, isMapped: Bool = true
    ) throws -> [Double] {
        try (0..<count).map { number in
            let pod = try ScratchNamespace()
            let text = suite.configuration(
                namespaces: isMapped ? #""*""# : "", previous: "10.2.\(name.utf8.count).\(number + 2)/24")
            let environment = suite.environment("ADD", container: "\(name)\(number)", netns: pod.path)
            let start = ContinuousClock.now
            let answer = try suite.node.run { try suite.runtime.call(environment, text) }
            let time = (ContinuousClock.now - start) / .milliseconds(1)
            #expect(answer.status == 0, "\(answer.output)")
            // What the one before makes conntrack forget later is not this one's.
            usleep(1_200_000)
            return time
        }
    }

    private static func ip(_ words: String) throws {
        let outcome = try ChildProcess(
            "/usr/sbin/ip", words.split(separator: " ").map(String.init),
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
        ).wait()
        #expect(outcome.status == 0, "\(outcome.diagnostics)")
    }

    /// So many flows of the calling thread's namespace to itself.
    private static func fill(_ count: Int) throws {
        let raw = try check("socket") { socket(AF_INET, 2 | O_CLOEXEC, 0) }  // SOCK_DGRAM
        let descriptor = FileDescriptor(owning: raw)
        for number in 0..<count {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = UInt16(1 + number % 50_000).bigEndian
            name.sin_addr.s_addr = (0x7f00_0001 + UInt32(number / 50_000)).bigEndian
            _ = unsafe withUnsafePointer(to: &name) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe sendto(descriptor.raw, nil, 0, 0, $0, 16)
                }
            }
        }
    }
}
