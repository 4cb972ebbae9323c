import CNI
import Glibc
import Handover
import Linux
import Netlink
import Testing
import Timing
import Tun

@testable import NodeAgent

/// A pod's socket and who asks there, in namespaces. Needs root.
@Suite struct HandoverTests {
    /// Opens the pod's socket and answers one question of `probe`.
    private func answer(_ pod: ScratchPod, _ record: AttachmentRecord, _ probe: () throws -> Program) throws -> (
        line: String?, outcome: HandoverOutcome?, probe: Program
    ) {
        let socket = try PodSocket(record, root: "", now: .now())
        let program = try probe()
        let outcome = try wait(for: socket)
        return (try program.line(), outcome, program)
    }

    private func wait(for socket: PodSocket) throws -> HandoverOutcome? {
        var poll = pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0)
        guard unsafe Glibc.poll(&poll, 1, 10_000) > 0 else { throw Program.Failure(description: "nobody asked") }
        return socket.answer(now: .now())?.outcome
    }

    @Test(arguments: [nil, 131072] as [UInt32?])
    func `the owner gets the descriptor without any capability, in a user namespace too, and packets flow`(
        base: UInt32?
    ) throws {
        let pod = try ScratchPod(mappedFrom: base)
        try pod.makeTun()
        let (line, outcome, probe) = try answer(pod, pod.record()) { try pod.probe() }
        #expect(line == "granted" && outcome == .granted)
        var heard: String?
        for _ in 0..<10 where heard == nil {
            try pod.sendPacket()
            usleep(50_000)
            heard = try probe.line()
        }
        #expect(heard == "packet 43")  // virtio header 10, IPv4 20, UDP 8, hello 5
        // Its successor, before it has ended and after.
        let (second, held, _) = try answer(pod, pod.record()) { try pod.probe() }
        #expect(second?.hasPrefix("not now: ") == true && held == .held)
        probe.stop()
        let (third, again, _) = try answer(pod, pod.record()) { try pod.probe() }
        #expect(third == "granted" && again == .granted)
    }

    @Test(arguments: [0, 1000, 65532] as [UInt32])
    func `any other uid of the pod is refused`(uid: UInt32) throws {
        let pod = try ScratchPod()
        try pod.makeTun()
        let (line, outcome, _) = try answer(pod, pod.record()) { try pod.probe(uid: uid) }
        #expect(line == "refused: uid \(uid) is not the owner of warren0" && outcome == .uid)
    }

    @Test func `a uid that means the owner only inside another user namespace is refused`() throws {
        let pod = try ScratchPod(mappedFrom: 131072)
        try pod.makeTun()
        // The owner of a pod without user namespace.
        let (line, outcome, _) = try answer(pod, pod.record()) {
            try Program([
                "nsenter", "--net=\(pod.path)", "setpriv", "--reuid=64738", "--regid=64738", "--clear-groups",
                Program.path("warren-tunprobe"), "warren0",
            ])
        }
        #expect(line == "refused: uid 64738 is not the owner of warren0" && outcome == .uid)
    }

    @Test func `a process outside of the pod's control group is refused, one inside is not`() throws {
        let uid = "4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c"
        let group = try ScratchCgroup("warren-test-kubepods/pod\(uid)/sidecar")
        let pod = try ScratchPod()
        try pod.makeTun()
        let (line, outcome, _) = try answer(pod, pod.record(uid: uid)) { try pod.probe() }
        #expect(line?.contains("is not in the control group of pod \(uid)") == true && outcome == .cgroup)
        let (second, granted, probe) = try answer(pod, pod.record(uid: uid)) {
            try pod.probe(before: "echo $$ > \(group.path)/cgroup.procs")
        }
        #expect(second == "granted" && granted == .granted)
        probe.stop()
    }

    @Test func `a process of another network namespace is refused, though its socket is the pod's`() throws {
        let pod = try ScratchPod()
        try pod.makeTun(owner: 0)
        let socket = try PodSocket(pod.record(owner: 0), root: "", now: .now())
        let path = pod.path
        let asking = try Joinable {
            // This process is in the host's namespace, and only this thread and its socket are in the pod's.
            _ = try? NetworkNamespace(path: path).run { try HandoverClient.receive("warren0").setCarrier(true) }
        }
        #expect(try wait(for: socket) == .namespace)
        asking.join()
    }

    @Test func `what is not the plugin's interface is not handed over`() throws {
        let pod = try ScratchPod()
        let (line, outcome, _) = try answer(pod, pod.record()) { try pod.probe() }
        #expect(line == "refused: no interface warren0 in the pod" && outcome == .interface)
        try pod.makeTun(owner: 1000)
        let (second, other, _) = try answer(pod, pod.record()) { try pod.probe() }
        #expect(second == "refused: warren0 is not the plugin's TUN of uid 64738" && other == .interface)
    }

    @Test func `questions that come too fast are put off`() throws {
        let pod = try ScratchPod()
        let socket = try PodSocket(pod.record(), root: "", now: .zero)
        let name = HandoverAnswer.socketName(for: "warren0")
        var outcomes: [HandoverOutcome] = []
        for _ in 0..<30 {
            try pod.run { _ = try PacketSocket.connect(to: name, seconds: 1) }
            if let outcome = socket.answer(now: .zero)?.outcome { outcomes.append(outcome) }
        }
        #expect(outcomes.prefix(20).allSatisfy { $0 == .uid } && outcomes.count == 30)
        #expect(outcomes.suffix(10).allSatisfy { $0 == .rate })
    }

    @Test func `a namespace that is not the recorded one, or the agent's own, is not entered`() throws {
        let (pod, other) = (try ScratchPod(), try ScratchPod())
        let (record, foreign) = (try pod.record(), try other.record())
        let exchanged = AttachmentRecord(
            network: "pods", holder: record.holder,
            netns: AttachmentRecord.Netns(path: other.path, inode: record.netns.inode, device: foreign.netns.device),
            interface: "warren0", ownerUid: 64738, addresses: [], created: 0)
        #expect(throws: SystemError.self) { try PodSocket(exchanged, root: "", now: .now()) }
        let own = try NetworkNamespace.current().identity()
        let host = AttachmentRecord(
            network: "pods", holder: record.holder,
            netns: AttachmentRecord.Netns(path: "/proc/self/ns/net", inode: own.inode, device: own.device),
            interface: "warren0", ownerUid: 64738, addresses: [], created: 0)
        #expect(throws: SystemError.self) { try PodSocket(host, root: "", now: .now()) }
    }

    @Test func `the sidecar refuses another TUN of the same name, whoever sends it, and takes its own later`() throws {
        let (pod, other) = (try ScratchPod(), try ScratchPod())
        try pod.makeTun()
        try other.makeTun(owner: 0)
        let name = HandoverAnswer.socketName(for: "warren0")
        // A root process of the pod has the name before the agent does.
        let squatter = SocketBox(try pod.run { try PacketSocket.listen(at: name).share() })
        #expect(throws: (any Error).self) { try PodSocket(pod.record(), root: "", now: .now()) }
        let probe = try pod.probe()
        try squatter.answer(with: try other.run { try TunDevice.attach("warren0").share() })
        #expect(try probe.line()?.hasPrefix("not our interface's descriptor") == true)
        // Or some other file, or none, or nonsense.
        let second = try pod.probe()
        try squatter.answer(with: try FileDescriptor(open: "/dev/null", O_RDWR).release())
        #expect(try second.line()?.contains("sent another kind of descriptor") == true)
        let third = try pod.probe()
        try squatter.answer(with: nil)
        #expect(try third.line()?.contains("sent no descriptor") == true)
        squatter.close()
        let (line, outcome, _) = try answer(pod, pod.record()) { try pod.probe() }
        #expect(line == "granted" && outcome == .granted)
    }

    @Test func `without an agent the sidecar hears ECONNREFUSED`() throws {
        let pod = try ScratchPod()
        #expect(try pod.probe().line() == "connect @warren/tun/warren0: ECONNREFUSED (Connection refused)")
    }
}
