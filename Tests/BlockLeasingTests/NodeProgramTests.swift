import Glibc
import Linux
import TestSupport
import Testing

/// `warren-node` as people run it. Needs root.
@Suite(.serialized, .timeLimit(.minutes(3))) struct NodeProgramTests {
    private let node: ProgramNode

    init() throws { node = try ProgramNode() }

    private static let fixed = ["--mesh", "fd00:9::/48", "--node", "7", "--ipv4-block", "10.9.7.0/24"]

    private func run(_ more: [String] = NodeProgramTests.fixed) throws -> ChildProcess {
        try node.start(
            "warren-node", ["run"] + node.places + ["--opt-in", "all", "--agent-required"] + more)
    }

    // MARK: - Arguments

    private static let bad: [([String], String)] = [
        ([], "--mesh and --node are needed, or --token-file"),
        (["--mesh", "fd00:9::/48"], "--mesh and --node are needed, or --token-file"),
        (["--node", "7"], "--mesh and --node are needed"),
        (["--mesh", "fd00:9::/64", "--node", "7"], "--mesh fd00:9::/64: an IPv6 /48 is needed"),
        (["--mesh", "mesh", "--node", "7"], "--mesh mesh: not a network in CIDR form"),
        (["--mesh", "fd00:9::/48", "--node", "70000"], "70000"),
        (fixed + ["--ipv4-block", "fd00::/64"], "--ipv4-block fd00::/64: not IPv4"),
        (fixed + ["--owner-uid", "0"], "--owner-uid 0: that is root"),
        (fixed + ["--opt-in", "some"], "--opt-in some: neither annotation nor all"),
        (fixed + ["--route", "10.0.0.1"], "--route 10.0.0.1: not a network in CIDR form"),
        (fixed + ["--listen", "nowhere"], "--listen nowhere: IP:PORT is needed"),
        (fixed + ["--listen", "192.0.2.1:9809"], "bind 192.0.2.1:9809: EADDRNOTAVAIL"),
        (fixed + ["--cni-bin-dir", "bin"], "--cni-bin-dir bin: not an absolute path"),
        (fixed + ["--plugin-conf", "/nowhere"], "open /nowhere: ENOENT"),
        (fixed + ["--token-file", "/nowhere"], "--node and --token-file: number and block are given or leased"),
        (["--token-file", "/nowhere", "--ipv4-block", "10.0.0.0/24"], "--ipv4-block and --token-file"),
        (["--token-file", "/nowhere", "--lease-dir", "here"], "--lease-dir here: not an absolute path"),
        (["--token-file", "/nowhere", "--node-name", "Node_1"], "--node-name Node_1: use lower-case letters"),
        (fixed + ["--unknown"], "--unknown"),
    ]

    @Test(arguments: bad)
    func `a bad argument is one clear error, and nothing is done`(words: [String], text: String) throws {
        let outcome = try node.end(of: run(words))
        #expect(outcome.status != 0 && outcome.output.isEmpty)
        #expect(outcome.diagnostics.contains(text), "\(outcome.diagnostics)")
        #expect(outcome.diagnostics.split(separator: "\n").count { $0.hasPrefix("Error:") } == 1)
        #expect(node.conflist == ProgramNode.ptp && node.folder.names("bin").isEmpty)
    }

    // MARK: - Its life

    private func call(_ verb: String, _ pod: ScratchNamespace, _ container: String) throws -> ChildProcess.Outcome {
        let environment = [
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": pod.path,
            "CNI_ARGS": "IgnoreUnknown=1", "CNI_PATH": "/x",
        ]
        let entry =
            #"{"type":"warren-cni","mesh":"fd00:9::/48","node":7,"ipv4Range":"10.9.7.0/24","#
            + #""agent":"\#(node.folder.path)/run/agent.sock","agentRequired":true,"#
            + #""dataDir":"\#(node.folder.path)/run/cni","cniVersion":"1.1.0","name":"pods"}"#
        return try node.command("\(node.folder.path)/bin/warren-cni", [], environment: environment, input: entry)
    }

    private func metric(_ name: String) throws -> Int? {
        let line = try node.get("/metrics").body.split(separator: "\n").first { $0.hasPrefix("warren_node_\(name) ") }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Int($0) }
    }

    @Test func `health and metrics answer, SIGTERM leaves everything, and the next start goes on`() throws {
        let (one, two) = (try ScratchNamespace(), try ScratchNamespace())
        let first = try run()
        try node.waitUntilReady(first)
        #expect(try node.get("/healthz").body.contains(#""ready":true,"installer":"installed""#))
        #expect(try metric("ready") == 1 && metric("conflist_inserts_total") == 1)
        #expect(try node.get("/other").status == "404")
        let installed = node.conflist
        #expect(installed.contains(#""warren-cni""#))
        #expect(try call("ADD", one, "one").status == 0)
        #expect(try eventually { try metric("attachments") == 1 && metric("pod_sockets") == 1 })
        kill(first.pid, SIGTERM)
        let outcome = try node.end(of: first)
        #expect(outcome.status == 0)
        #expect(outcome.diagnostics.hasSuffix("warren-node: ending: plugin, entry and interfaces stay\n"))
        #expect(node.conflist == installed && node.folder.names("bin") == ["warren-cni"])
        #expect(node.folder.names("run/cni/attachments/pods") == ["one:eth0"])
        // Without it a pod that needs it waits, and one that has been can be deleted.
        let refused = try call("ADD", two, "two")
        #expect(refused.status == 1 && refused.output.contains(#""code":11"#))
        #expect(try call("STATUS", two, "two").output.contains(#""code":50"#))
        let second = try run()
        try node.waitUntilReady(second)
        #expect(node.conflist == installed)
        #expect(try eventually { try metric("pod_sockets") == 1 })
        #expect(try call("DEL", one, "one").status == 0)
        #expect(try eventually { try metric("attachments") == 0 })
    }

    @Test func `SIGKILL at any time, with pods that come and go, is recovered from by a start`() throws {
        let pods = try (0..<4).map { _ in try ScratchNamespace() }
        for (index, pod) in pods.enumerated() {
            let process = try run()
            try node.waitUntilReady(process)
            #expect(try call("ADD", pod, "pod-\(index)").status == 0)
            // The pod that the last process had.
            if index > 0 { #expect(try call("DEL", pods[index - 1], "pod-\(index - 1)").status == 0) }
            node.kill(process)
        }
        // Killed while it starts, too.
        for delay in stride(from: UInt32(0), to: 60_000, by: 6_000) {
            let process = try run()
            usleep(delay)
            node.kill(process)
        }
        let last = try run()
        try node.waitUntilReady(last)
        #expect(try eventually { try metric("pod_sockets") == 1 })
        #expect(node.folder.names("net.d") == ["10-ptp.conflist"] && node.folder.names("bin") == ["warren-cni"])
        #expect(node.conflist.components("\"warren-cni\"") == 1)
        #expect(try call("DEL", pods[3], "pod-3").status == 0)
        #expect(node.folder.names("run/cni/attachments/pods").isEmpty)
    }

    // MARK: - The lease

    /// A hub with a token for nodes; returns its process.
    private func startHub() throws -> ChildProcess {
        let process = try node.start(
            "warren-hub",
            [
                "serve", "--dir", "\(node.folder.path)/hub", "--listen", "127.0.0.1:7443", "--relay-listen",
                "127.0.0.1:3478",
            ])
        let isUp = try eventually {
            try node.command("/usr/bin/curl", ["-ksf", "--max-time", "2", "https://127.0.0.1:7443/healthz"]).status == 0
        }
        guard isUp else { throw ChildProcess.Failure(description: "the hub: \(process.diagnostics)") }
        return process
    }

    private func hub(_ words: String...) throws -> String {
        let outcome = try node.command(
            BuiltProgram.path("warren-hub"), words + ["--dir", "\(node.folder.path)/hub"])
        guard outcome.status == 0 else { throw ChildProcess.Failure(description: outcome.diagnostics) }
        return outcome.output
    }

    private func makeHub() throws -> ChildProcess {
        _ = try hub(
            "init", "--mesh", "demo", "--prefix", "fd12:3456:789a::/48", "--ipv4-range", "100.64.0.0/10", "--address",
            "127.0.0.1:7443", "--relay", "127.0.0.1:3478")
        let process = try startHub()
        try node.folder.write(hub("token", "create", "--node", "--name", "node-*"), to: "token", mode: 0o600)
        return process
    }

    private var leased: [String] {
        [
            "--token-file", "\(node.folder.path)/token", "--node-name", "node-1", "--lease-dir",
            "\(node.folder.path)/lease",
        ]
    }

    @Test func `the node leases its block, and keeps it when the hub, the token and it itself are gone`() throws {
        let service = try makeHub()
        let first = try run(leased)
        try node.waitUntilReady(first)
        let conflist = node.conflist
        #expect(conflist.contains(#""mesh": "fd12:3456:789a::/48", "node": 1, "ipv4Range": "100.64.1.0/24""#))
        #expect(conflist.contains(#""leaseEnds": "#))
        #expect(try hub("node-list").contains("node-1"))
        #expect(node.folder.mode("lease") == 0o700 && node.folder.mode("lease/identity.key") == 0o600)
        #expect(node.folder.mode("lease/lease.json") == 0o600)
        #expect(!first.diagnostics.contains("warren1."))
        node.kill(service)
        node.kill(first)
        node.folder.remove("token")
        let second = try run(leased)
        try node.waitUntilReady(second)
        #expect(node.conflist == conflist)
        #expect(eventually { second.diagnostics.contains("renew the lease of fd12:3456:789a:1::/64") })
        node.kill(second)
        // The same node to a hub that is back, though the token had one use.
        _ = try startHub()
        try node.folder.write(hub("token", "create", "--node", "--name", "other"), to: "token", mode: 0o600)
        // The lease's end counts in seconds, and this one is to be another.
        usleep(1_100_000)
        let third = try run(leased)
        #expect(eventually { node.conflist != conflist }, "\(third.diagnostics)")
        #expect(node.conflist.contains(#""node": 1, "ipv4Range": "100.64.1.0/24""#))
        #expect(!third.diagnostics.contains("renew the lease"))
        #expect(try hub("node-list").split(separator: "\n").count == 2)
    }

    @Test func `a block that the hub has given up attaches nobody`() throws {
        _ = try makeHub()
        let first = try run(leased)
        try node.waitUntilReady(first)
        node.kill(first)
        _ = try hub("release-node", "node-1")
        let second = try run(leased)
        #expect(try eventually { try node.get("/healthz").body.contains("the lease of this node's block ended") })
        #expect(try node.get("/healthz").status == "503")
        #expect(second.diagnostics.contains("the hub refuses"))
    }

    @Test func `without a block it ends with one error that says why`() throws {
        let missing = try node.end(of: run(leased))
        #expect(missing.status == 1)
        #expect(
            missing.diagnostics
                == "Error: read the node's join token: open \(node.folder.path)/token: ENOENT (No such file or directory); "
                + "make one with `warren-hub token create --node`\n")
        _ = try makeHub()
        try node.folder.write(hub("token", "create"), to: "token", mode: 0o600)
        let agent = try node.end(of: run(leased))
        #expect(agent.status == 1 && agent.diagnostics.hasPrefix("Error: the hub refuses"), "\(agent.diagnostics)")
        #expect(agent.diagnostics.split(separator: "\n").count == 1)
        #expect(node.folder.names("lease") == ["identity.key"])
        try node.folder.write(hub("token", "create", "--node"), to: "token", mode: 0o600)
        let mesh = try node.end(of: run(leased + ["--mesh", "fd00::/48"]))
        #expect(
            mesh.status != 0 && mesh.diagnostics.contains("--mesh fd00::/48: the hub's mesh is fd12:3456:789a::/48"))
        #expect(node.conflist == ProgramNode.ptp && node.folder.names("bin").isEmpty)
    }
}

extension String {
    /// How often `text` is in it.
    fileprivate func components(_ text: String) -> Int { ranges(of: text).count }
}
