import Addressing
import CLinux
import CNI
import Glibc
import Linux
import NodePorts
import Synchronization
import TestSupport
import Scrape
import Testing
import Timing

@testable import NodeAgent

/// The whole agent in this process, with namespaces of its own. Needs root.
@Suite struct NodeServiceTests {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
        var log: NodeLog { NodeLog { line in self.all.withLock { $0.append(line) } } }
    }

    private func eventually(_ seconds: UInt64 = 20, _ condition: () throws -> Bool) rethrows -> Bool {
        let deadline = MonotonicTime.now() + .seconds(seconds)
        while MonotonicTime.now() < deadline {
            if try condition() { return true }
            usleep(20_000)
        }
        return try condition()
    }

    private func store(_ record: AttachmentRecord, _ node: ScratchNode) throws {
        let store = try Store(creating: StoreLocation(dataDir: node.configuration.dataFolder, network: record.network))
        try store.attach(record)
    }

    private func detach(_ record: AttachmentRecord, _ node: ScratchNode) throws {
        let location = StoreLocation(dataDir: node.configuration.dataFolder, network: record.network)
        if let store = try Store(existing: location) { try store.detach(record.holder) }
    }

    /// The calling thread's network namespace's tables of nftables.
    private static func tables() throws -> String {
        try ChildProcess("/usr/sbin/nft", ["list", "tables"]).wait().output
    }

    /// What `target` answers: its status line and its body.
    private func get(_ target: String, _ service: NodeService) throws -> (status: String, body: String) {
        let endpoint = try #require(service.health?.endpoint)
        let command =
            "printf 'GET \(target) HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | socat -t 5 - TCP:127.0.0.1:\(endpoint.port)"
        let program = try Program(["sh", "-c", command])
        var lines: [String] = []
        while let line = try program.line() { lines.append(line.filter { $0 != "\r" }) }
        let end = lines.firstIndex(of: "") ?? 0
        return (lines.first ?? "", lines[(end + 1)...].joined(separator: "\n"))
    }

    @Test func `a notice is answered when the pod's socket is there, and a restart makes it anew`() throws {
        let (node, pod, lines) = (try ScratchNode(), try ScratchPod(), Lines())
        try pod.makeTun()
        let record = try pod.record()
        try store(record, node)
        let first = try NodeService(node.configuration, log: lines.log)
        try first.start()
        try AgentNotice.attached(record).send(to: node.configuration.agentSocket)
        // No waiting: the answer says that it is there.
        #expect(try pod.probe().line() == "granted")
        try AgentNotice.attached(record).send(to: node.configuration.agentSocket)
        first.stop()
        #expect(throws: CNIError.self) { try AgentNotice.attached(record).send(to: node.configuration.agentSocket) }
        #expect(try pod.probe().line()?.contains("ECONNREFUSED") == true)
        let second = try NodeService(node.configuration, log: lines.log)
        try second.start()
        #expect(eventually { second.status.snapshot.podSockets == 1 })
        #expect(try pod.probe().line() == "granted")
        second.stop()
    }

    @Test func `notices of others than root, and of nonsense, change nothing`() throws {
        let (node, lines) = (try ScratchNode(), Lines())
        _ = unsafe chmod(node.folder.path, 0o755)
        let service = try NodeService(node.configuration, log: lines.log)
        try service.start()
        let socket = node.configuration.agentSocket
        var status = stat()
        #expect(unsafe stat(socket, &status) == 0 && status.st_mode & 0o777 == 0o600)
        // Even if the socket's mode allowed it.
        _ = unsafe chmod(socket, 0o666)
        // The answer does not wait for the question, and may be lost by who has asked one before it came.
        let python = """
            import socket
            def stranger():
                s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                s.connect('\(socket)')
                return s
            asks, listens = stranger(), stranger()
            try:
                asks.send(b'{"withdraw":true}')
                asks.recv(100)
            except OSError: pass
            print(listens.recv(100).decode())
            """
        let stranger = try Program(["setpriv", "--reuid=1000", "--clear-groups", "python3", "-c", python])
        #expect(try stranger.line() == #"{"error":"uid 1000 is not root"}"#)
        for text in ["", "{", "{}", #"{"attached":{}}"#, #"{"withdraw":1}"#] {
            let connection = try PacketSocket.connect(to: .path(socket), seconds: 2)
            if !text.isEmpty { try connection.send(Array(text.utf8)) }
        }
        #expect(eventually { service.status.snapshot.notices[false] == 6 })
        #expect(service.status.snapshot.notices[true] == 1 && service.status.snapshot.installer != .withdrawn)
        service.stop()
    }

    @Test func `who has taken the name is waited out, and counted`() throws {
        let (node, pod, lines) = (try ScratchNode(), try ScratchPod(), Lines())
        try pod.makeTun()
        let record = try pod.record()
        try store(record, node)
        let squatter = SocketBox(
            try pod.run { try PacketSocket.listen(at: .abstract("warren/tun/warren0")).share() })
        let service = try NodeService(node.configuration, log: lines.log)
        try service.start()
        #expect(eventually { service.status.snapshot.occupied == 1 })
        #expect(throws: CNIError.self) { try AgentNotice.attached(record).send(to: node.configuration.agentSocket) }
        squatter.close()
        #expect(eventually { service.status.snapshot.podSockets == 1 && service.status.snapshot.occupied == 0 })
        #expect(try pod.probe().line() == "granted")
        service.stop()
    }

    @Test func `a pod that is gone is let go of: its socket, its record and its namespace`() throws {
        let (node, lines) = (try ScratchNode(), Lines())
        var pod: ScratchPod? = try ScratchPod()
        let record = try #require(pod).record()
        try store(record, node)
        let service = try NodeService(node.configuration, log: lines.log)
        try service.start()
        #expect(eventually { service.status.snapshot.podSockets == 1 })
        // No DEL: the runtime only let the namespace go.
        pod = nil
        #expect(eventually { service.status.snapshot.podSockets == 0 })
        #expect(eventually { service.status.snapshot.reconciled == 1 && service.status.snapshot.attachments == 0 })
        // A deleted attachment of a namespace that stays.
        let other = try ScratchPod()
        let second = try other.record("def")
        try store(second, node)
        #expect(eventually { service.status.snapshot.podSockets == 1 })
        try detach(second, node)
        #expect(eventually { service.status.snapshot.podSockets == 0 })
        service.stop()
    }

    @Test func `it puts the entry back at once, tells health and metrics, and leaves everything at its end`() throws {
        let (node, lines) = (try ScratchNode(), Lines())
        let service = try NodeService(node.configuration, log: lines.log)
        try service.start()
        #expect(try get("/healthz", service).status == "HTTP/1.1 503 Service Unavailable")
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        #expect(eventually { node.types("10-ptp.conflist")?.last == "warren-cni" })
        #expect(eventually { service.status.snapshot.isReady })
        let (status, body) = try get("/healthz", service)
        #expect(status == "HTTP/1.1 200 OK" && body.contains(#""ready":true,"installer":"installed""#))
        // Another agent's ways: rewriting in place, half of it for a while, exchanging, renaming.
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        #expect(eventually { node.types("10-ptp.conflist")?.last == "warren-cni" })
        try node.folder.write(String(ScratchNode.ptp.dropLast(40)), to: "net.d/10-ptp.conflist")
        usleep(300_000)
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        #expect(eventually { node.types("10-ptp.conflist")?.last == "warren-cni" })
        node.folder.rename("net.d/10-ptp.conflist", to: "net.d/20-ptp.conflist")
        try node.folder.write(ScratchNode.ptp, to: "net.d/.new")
        node.folder.rename("net.d/.new", to: "net.d/10-ptp.conflist")
        #expect(
            eventually {
                node.types("10-ptp.conflist")?.last == "warren-cni" && node.conf("20-ptp.conflist") == ScratchNode.ptp
            })
        node.folder.remove("bin/warren-cni")
        #expect(try eventually { try node.hasPlugin() })
        let metrics = try get("/metrics", service).body
        #expect(
            metrics.contains("\nwarren_node_ready 1\n") && metrics.contains("\nwarren_node_conflist_inserts_total 4\n"))
        #expect(try get("/", service).status == "HTTP/1.1 404 Not Found")
        service.stop()
        #expect(node.types("10-ptp.conflist")?.last == "warren-cni")
        #expect(try node.hasPlugin())
        #expect(unsafe access(node.configuration.agentSocket, F_OK) != 0)
    }

    @Test func `the removal waits for the pods, and each of them can be deleted meanwhile`() throws {
        let (node, pod, lines) = (try ScratchNode(), try ScratchPod(), Lines())
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        let service = try NodeService(node.configuration, log: lines.log)
        try service.start()
        #expect(eventually { service.status.snapshot.isReady })
        func call(_ verb: String) throws -> String? {
            let program = try Program(
                [node.configuration.binFolder + "/warren-cni"],
                environment: [
                    "CNI_COMMAND": verb, "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0", "CNI_NETNS": pod.path,
                    "CNI_ARGS": "IgnoreUnknown=1", "CNI_PATH": "/x",
                ])
            let entry = node.configuration.entry.dropFirst()
            try program.write(#"{"cniVersion":"1.0.0","name":"pods","# + entry)
            program.closeInput()
            let line = try program.line()
            #expect(try program.status() == 0, "\(verb): \(line ?? "")")
            return line
        }
        _ = try call("ADD")
        #expect(try pod.probe().line() == "granted")
        let removal = Removal(node.configuration, log: lines.log)
        #expect(try removal.run(patience: .zero) == .pending(attachments: 1))
        // No new pod would be attached, the running agent does not undo it, and the old pod has all it needs.
        #expect(node.conf("10-ptp.conflist") == ScratchNode.ptp)
        #expect(
            service.status.snapshot.installer == .withdrawn
                || eventually { service.status.snapshot.installer == .withdrawn })
        #expect(try node.hasPlugin())
        #expect(try pod.probe().line() == "granted")
        _ = try call("DEL")
        // The rules that pods with a port of the node have left on it go too; the node is a namespace of the test's.
        let place = try ScratchNamespace()
        let ports = PortMap(dataDir: node.configuration.dataFolder)
        let configuration = node.configuration
        let left = try place.run {
            let holder = PortHolder(network: "pods", containerID: "abc", ifName: "eth0")
            let plan = try PortPlan(range: 31000...31009, podPort: 51820)
            _ = try ports.assign(to: IPv4Address(10, 1, 0, 2), holder: holder, plan: plan)
            try ports.release(holder)
            #expect(try Self.tables() == "table ip warren\n")
            #expect(try Removal(configuration, log: lines.log).run(patience: .zero) == .complete)
            return try Self.tables()
        }
        #expect(left == "")
        #expect(node.folder.names("run/cni/node-ports").allSatisfy { ["lock", "flows"].contains($0) })
        #expect(node.folder.names("bin").isEmpty && node.conf("10-ptp.conflist") == ScratchNode.ptp)
        usleep(1_500_000)
        #expect(node.folder.names("bin").isEmpty)
        service.stop()
        // Again, with nothing there: no error.
        #expect(try removal.run(patience: .zero) == .complete)
    }
}
