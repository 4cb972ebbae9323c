import Addressing
import Glibc
import Linux
import TestSupport
import Testing

@testable import CNI

/// STATUS by the built program: whether an ADD could succeed now, told within 50 ms. Needs root.
@Suite struct StatusTests {
    private let runtime: Runtime

    init() throws { runtime = try Runtime() }

    private func status(_ more: String = "", range: String? = "10.9.7.0/24") throws -> Runtime.Answer {
        let environment = ["CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"]
        return try runtime.call(environment, runtime.configuration("1.1.0", range: range, more))
    }

    @Test func `a required agent must answer, another need not`() throws {
        let socket = "\(runtime.folder.path)/node.sock"
        let agent = #""agent":"\#(socket)""#
        let required = agent + #","agentRequired":true"#
        #expect(try status(agent).status == 0)
        let absent = try status(required)
        #expect(absent.code == 50 && absent.message.hasPrefix("ask the node's agent: connect \(socket): ENOENT"))
        // The pod's ADD is to be tried again, and leaves nothing.
        let refused = try runtime.call("ADD", runtime.configuration("1.1.0", required))
        #expect(refused.code == 11 && refused.message.contains("the node's agent does not answer"))
        #expect(try runtime.link() == nil && runtime.attachments.isEmpty)
        do {
            let listener = try UnixSocket.listen(path: socket, mode: 0o600, backlog: 0)
            #expect(try status(required).status == 0)
            // Nobody takes connections from its queue, which is full now: busy, but there.
            #expect(try status(required).status == 0)
            // And no agent: it would speak in packets.
            #expect(try runtime.call("ADD", runtime.configuration("1.1.0", required)).code == 11)
            #expect(try runtime.link() == nil && runtime.attachments.isEmpty)
            _ = consume listener
        }
        // A dead agent's socket stays behind.
        #expect(try status(required).code == 50)
    }

    @Test(arguments: [("{}", 0), (#"{"error":"not this one"}"#, 11), ("what", 11)])
    func `a required agent has the last word`(answer: String, code: Int64) throws {
        let path = "\(runtime.folder.path)/node.sock"
        let agent = try PacketSocket.listen(at: .path(path), mode: 0o600, backlog: 4)
        let thread = try Thread(named: "agent") {
            for _ in 0..<5000 {
                if let connection = try? agent.accept() {
                    try? connection.block(seconds: 5)
                    _ = try? connection.receive(limit: AgentNotice.limit)
                    return _ = try? connection.send(Array(answer.utf8))
                }
                usleep(1000)
            }
        }
        let required = #""agent":"\#(path)","agentRequired":true"#
        let added = try runtime.call("ADD", runtime.configuration("1.1.0", required))
        thread.join()
        #expect((added.code ?? 0) == code)
        #expect(try (runtime.link() != nil) == (code == 0) && runtime.attachments.isEmpty == (code != 0))
    }

    @Test func `an ended lease attaches nobody, and what is attached can be deleted`() throws {
        let now = Int64(time(nil))
        #expect(try status(#""leaseEnds":\#(now + 100)"#).status == 0)
        #expect(try runtime.call("ADD", runtime.configuration("1.1.0", #""leaseEnds":\#(now + 100)"#)).status == 0)
        let ended = #""leaseEnds":\#(now - 5)"#
        let answer = try status(ended)
        #expect(answer.code == 50 && answer.message.contains("the lease of this node's block ended"))
        let other = try ScratchNamespace()
        let refused = try runtime.call(
            runtime.environment("ADD", container: "other", netns: other.path), runtime.configuration("1.1.0", ended))
        #expect(refused.code == 11 && refused.message.contains("warren-node"))
        #expect(try other.link("warren0") == nil && runtime.attachments == ["abc:eth0"])
        #expect(try runtime.call("DEL", runtime.configuration("1.1.0", ended)).status == 0)
        #expect(try runtime.link() == nil && runtime.attachments.isEmpty)
    }

    @Test func `a store that can't be written is no store`() throws {
        #expect(try status().status == 0)
        // Root writes everywhere but here.
        let nowhere = #"{"cniVersion":"1.1.0","name":"mesh","mesh":"fd00:9::/48","node":7,"dataDir":"/proc/self"}"#
        let answer = try runtime.call(["CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"], nowhere)
        #expect(answer.code == 50 && answer.message.contains("/proc/self/networks"))
    }

    @Test func `every answer comes within 50 ms, with the right code`() throws {
        let absent = #""agent":"\#(runtime.folder.path)/none.sock","agentRequired":true"#
        let cases: [(String, Int64?)] = [
            (runtime.configuration("1.1.0"), nil), (runtime.configuration("1.1.0", absent), 50),
            (runtime.configuration("1.1.0", #""leaseEnds":1"#), 50),
            (#"{"cniVersion":"1.1.0","name":"mesh","mesh":"fd00:9::/48","node":7,"dataDir":"/proc/self"}"#, 50),
            (runtime.configuration("1.1.0", #""ownerUid":0"#), 7), (runtime.configuration("1.0.0"), 1), ("{", 6),
        ]
        for (text, code) in cases {
            let clock = ContinuousClock()
            // Whole process, on a busy machine: the quickest of five is what it takes.
            let times = try (0..<5).map { _ in
                try clock.measure {
                    let answer = try runtime.call(["CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"], text)
                    #expect(answer.code == code && (answer.status == 0) == (code == nil), "\(text): \(answer.output)")
                }
            }
            #expect(times.min()! < .milliseconds(50), "\(text): \(times)")
            print("STATUS, code \(code ?? 0): \(times.min()! / .milliseconds(1)) ms")
        }
    }

    @Test func `a full range is found in time`() throws {
        let store = try Store(creating: StoreLocation(dataDir: runtime.folder.path, network: "mesh"))
        let holder = Store.Holder(containerID: "other", ifName: "eth0")
        let range = try AddressRange("10.9.0.0/22")
        try store.reserve(range.roundRobin(after: nil).map { .v4($0) }, for: holder)
        _ = consume store
        let clock = ContinuousClock()
        var times: [Duration] = []
        for _ in 0..<5 {
            let start = clock.now
            let answer = try status(range: "10.9.0.0/22")
            times.append(clock.now - start)
            #expect(answer.code == 50 && answer.message.hasSuffix("all are taken"))
        }
        // Whole process, on a busy machine: the quickest of five is what it takes.
        #expect(times.min()! < .milliseconds(50))
        #expect(try status(range: "10.9.0.0/21").status == 0)
    }
}
