import Foundation
import Glibc
import Lab
import Testing

extension Runtimes {
    /// containerd through the CRI, as a kubelet uses it.
    @Suite(.serialized) struct ContainerdTests {
        /// A node with containerd and an image of busybox alone, for what needs no sidecar.
        private func withContainerd(_ conflist: Conflist, _ body: (Containerd) throws -> Void) throws {
            try withNode { node in
                let containerd = try Containerd(on: node, conflist: conflist, programs: false)
                do { try body(containerd) } catch {
                    print("log of containerd:\n\(containerd.log.suffix(3000))")
                    throw error
                }
            }
        }

        /// Two pods of the manifest with a hub, ready: with the device node, or with the node's agent instead.
        private func withPair(device: Bool, _ body: (Kubelet, NodeAgent?, HubService, [String]) throws -> Void) throws {
            try withNode { node in
                let containerd = try Containerd(
                    on: node, conflist: device ? Conflist() : .primaryAlone, programs: true)
                let agent = try device ? nil : NodeAgent(on: node, confFolder: Containerd.networks)
                try containerd.waitForPlugin()
                let hub = try HubService(beside: node)
                let kubelet = Kubelet(containerd)
                let template = try PodTemplate(node.sandbox)
                let names = ["pod-a", "pod-b"]
                try kubelet.printingLogs(of: names, agent: agent) {
                    for name in names {
                        try kubelet.run(template.pod(name, token: hub.token(name), device: device, on: node))
                    }
                    for name in names {
                        try kubelet.waitReady(name)
                        #expect(try kubelet.hasDeviceNode(name) == device)
                        try kubelet.expectNoPrivilege(name)
                    }
                    try kubelet.expectPage(from: "pod-a", to: "pod-b")
                    try body(kubelet, agent, hub, names)
                }
                for name in names { try kubelet.remove(name) }
                try expectNothingLeft(on: node)
            }
        }

        /// Ends the pod's sidecar and starts it anew: it is the same agent at the same addresses.
        private func restartSidecar(of pod: String, grace: Int, _ kubelet: Kubelet) throws {
            let before = try kubelet.meshAddresses(of: pod)
            try kubelet.stop(PodTemplate.sidecar, of: pod, grace: grace)
            try kubelet.start(PodTemplate.sidecar, of: pod)
            try kubelet.waitReady(pod)
            #expect(try kubelet.meshAddresses(of: pod) == before)
        }

        @Test func `two restricted pods reach each other, across restarts of a sidecar and a kill of the runtime`()
            throws
        {
            try withPair(device: true) { kubelet, _, _, names in
                for grace in [10, 0] {
                    try restartSidecar(of: "pod-b", grace: grace, kubelet)
                    try kubelet.expectPage(from: "pod-a", to: "pod-b")
                    try kubelet.expectPage(from: "pod-b", to: "pod-a")
                }
                try kubelet.containerd.kill()
                try kubelet.containerd.restart()
                try kubelet.expectPage(from: "pod-a", to: "pod-b")
            }
        }

        @Test func `without a device node the agent hands the descriptor over, again after its own kill`() throws {
            try withPair(device: false) { kubelet, agent, _, names in
                let agent = try #require(agent)
                try restartSidecar(of: "pod-b", grace: 0, kubelet)
                try kubelet.expectPage(from: "pod-a", to: "pod-b")
                try agent.kill()
                // What runs needs no agent.
                try kubelet.expectPage(from: "pod-b", to: "pod-a")
                let refusal = #expect(throws: CRI.Refusal.self) {
                    try kubelet.containerd.cri.runSandbox(kubelet.containerd.sandbox("meanwhile"))
                }
                #expect(refusal?.text.contains("agent") == true, "\(refusal?.text ?? "no error")")
                try agent.restart()
                try restartSidecar(of: "pod-b", grace: 0, kubelet)
                try kubelet.expectPage(from: "pod-a", to: "pod-b")
                try kubelet.expectPage(from: "pod-b", to: "pod-a")
            }
        }

        private enum Victim: String, CaseIterable { case hub, agent, injector, runtime, sidecar }

        @Test
        func
            `hub, node's agent, injector, runtime and a sidecar die in any order: no other tunnel loses a packet, no pod stays`()
            throws
        {
            let seed = UInt64.random(in: 1...UInt64(UInt32.max))
            var random = SeededRandom(seed: seed)
            try withPair(device: false) { kubelet, agent, hub, names in
                let (agent, node) = (try #require(agent), kubelet.node)
                let injector = try InjectorService(on: node)
                let third = "pod-c"
                try kubelet.run(
                    PodTemplate(node.sandbox).pod(third, token: hub.token(third), device: false, on: node))
                try kubelet.waitReady(third)
                let netns = try kubelet.containerd.cri.network(of: kubelet.pod("pod-a").sandbox).netns
                let target = try kubelet.meshAddresses(of: "pod-b").ipv6
                let traffic = try node.spawn([
                    "nsenter", "--net=\(netns)", "ping", "-q", "-i", "0.02", "-W", "2", target,
                ])
                // Each begins once with each of the others down, and every one comes back.
                let order = (0..<2).flatMap { _ in Victim.allCases.shuffled(using: &random) }
                print("  seed \(seed): \(order.map(\.rawValue).joined(separator: ", "))")
                for (number, victim) in order.enumerated() {
                    switch victim {
                    case .hub:
                        try hub.kill()
                        // A sidecar that begins meanwhile waits for it.
                        try kubelet.stop(PodTemplate.sidecar, of: third, grace: 0)
                        try kubelet.start(PodTemplate.sidecar, of: third)
                        usleep(UInt32.random(in: 100_000...700_000, using: &random))
                        try hub.restart()
                        try kubelet.waitReady(third)
                    case .agent:
                        try agent.kill()
                        usleep(UInt32.random(in: 0...300_000, using: &random))
                        try agent.restart()
                    case .injector:
                        try injector.kill()
                        // Fails closed: there is no pod without it, protected or not.
                        let late = "pod-\(number)"
                        let token = try hub.token(late)
                        let refusal = #expect(throws: LabError.self) {
                            try InjectedPod.make(late, token: token, by: injector, on: node)
                        }
                        #expect("\(refusal, default: "")".contains("ConnectionRefusedError"))
                        try injector.restart()
                        try kubelet.run(InjectedPod.make(late, token: token, by: injector, on: node))
                        try kubelet.waitReady(late)
                        try kubelet.expectPage(from: "pod-a", to: late)
                        try kubelet.expectPage(from: late, to: third)
                        try kubelet.remove(late)
                    case .runtime:
                        try kubelet.containerd.kill()
                        try kubelet.containerd.restart()
                    case .sidecar: try restartSidecar(of: third, grace: number % 2 * 5, kubelet)
                    }
                    try kubelet.expectPage(from: "pod-a", to: third)
                    try kubelet.expectPage(from: third, to: "pod-b")
                }
                _ = try node.result(of: ["sh", "-c", "kill -INT $(pidof ping)"])
                try traffic.wait(timeout: 10)
                let words = traffic.standardOutput.split(whereSeparator: { " ,\n".contains($0) })
                let sent = words.firstIndex(of: "packets").flatMap { Int(words[$0 - 1]) } ?? 0
                let received = words.firstIndex(of: "received").flatMap { Int(words[$0 - 1]) } ?? -1
                figure("\(order.count) deaths beside a tunnel", "\(sent - received) of its \(sent) packets lost")
                #expect(sent > 100 && received == sent)
                try kubelet.remove(third)
            }
        }

        /// As runc 1.2.0 to 1.2.3 left a container's control group. Version 2 filters devices by a program instead.
        @Test(.enabled(if: ControlGroups.hasDeviceController, "no device controller of control groups version 1"))
        func `with the device denied by the control group and no agent, the sidecar refuses in one clear line`() throws
        {
            try withNode { node in
                let containerd = try Containerd(on: node, conflist: Conflist(), programs: true)
                let kubelet = Kubelet(containerd)
                try self.runDenied("pod", token: HubService(beside: node).token("pod"), kubelet)
                try waitUntil("the sidecar's end", timeout: 20) {
                    try !kubelet.isRunning(PodTemplate.sidecar, of: "pod")
                }
                #expect(try kubelet.exitStatus(of: PodTemplate.sidecar, of: "pod") == 1)
                let log = try kubelet.log(of: PodTemplate.sidecar, of: "pod")
                let lines = log.split(separator: "\n").filter { $0.contains("critical") }
                #expect(lines.count == 1 && lines[0].contains("/dev/net/tun") && lines[0].contains("EPERM"), "\(log)")
                try kubelet.remove("pod")
                try expectNothingLeft(on: node)
            }
        }

        @Test(.enabled(if: ControlGroups.hasDeviceController, "no device controller of control groups version 1"))
        func `with the device denied by the control group, the agent's descriptor carries the packets`() throws {
            try withNode { node in
                let containerd = try Containerd(on: node, conflist: .primaryAlone, programs: true)
                let agent = try NodeAgent(on: node, confFolder: Containerd.networks)
                try containerd.waitForPlugin()
                let hub = try HubService(beside: node)
                let kubelet = Kubelet(containerd)
                try kubelet.printingLogs(of: ["denied", "other"], agent: agent) {
                    try kubelet.run(
                        PodTemplate(node.sandbox).pod("other", token: hub.token("other"), device: false, on: node))
                    try self.runDenied("denied", token: hub.token("denied"), kubelet)
                    for name in ["denied", "other"] { try kubelet.waitReady(name) }
                    try kubelet.expectPage(from: "denied", to: "other")
                    try kubelet.expectPage(from: "other", to: "denied")
                }
                for name in ["denied", "other"] { try kubelet.remove(name) }
                try expectNothingLeft(on: node)
            }
        }

        /// Runs a pod whose sidecar has the device node but may not open it, and lets the sidecar begin.
        private func runDenied(_ name: String, token: String, _ kubelet: Kubelet) throws {
            let node = kubelet.node
            let gate = "/run/warren/begin"
            try kubelet.run(
                PodTemplate(node.sandbox).pod(name, token: token, device: true, gate: gate, on: node))
            let pod = try kubelet.pod(name)
            let container = try #require(pod.containers[PodTemplate.sidecar])
            let group = try #require(ControlGroups.devices(parent: pod.configuration.group, container: container))
            try node.sandbox.run("sh", "-c", "echo c 10:200 rwm > \(group)/devices.deny")
            let opened = try kubelet.execute(
                ["/bin/busybox", "cat", "/dev/net/tun"], in: PodTemplate.sidecar, of: name)
            #expect(opened.text.contains("Operation not permitted"), "\(opened.text)")
            #expect(try kubelet.execute(["/bin/busybox", "touch", gate], in: PodTemplate.sidecar, of: name).succeeded)
        }

        @Test func `StopPodSandbox and RemovePodSandbox both call DEL, the second with nothing known`() throws {
            try withContainerd(Conflist(witness: true)) { containerd in
                let sandbox = try containerd.cri.runSandbox(containerd.sandbox("pod"))
                #expect(!Remains.records(in: containerd.node.root + Conflist.store).isEmpty)
                try containerd.cri.stopSandbox(sandbox)
                #expect(Remains.records(in: containerd.node.root + Conflist.store).isEmpty)
                try containerd.cri.removeSandbox(sandbox)
                let deletions = try Witness.calls(on: containerd.node).filter { $0.verb == "DEL" }
                #expect(deletions.map(\.container) == [sandbox, sandbox])
                #expect(deletions.map(\.hasPrevious) == [true, false])
                #expect(deletions.map(\.netns.isEmpty) == [false, true])
                try expectNothingLeft(on: containerd.node)
            }
        }

        @Test func `a sandbox whose network namespace went first is removed, and its address is free again`() throws {
            try withContainerd(Conflist()) { containerd in
                let sandbox = try containerd.cri.runSandbox(containerd.sandbox("pod"))
                let netns = try containerd.cri.network(of: sandbox).netns
                try containerd.node.run("sh", "-euc", "umount \(netns); rm \(netns)")
                try containerd.cri.stopSandbox(sandbox)
                try containerd.cri.removeSandbox(sandbox)
                #expect(Remains.records(in: containerd.node.root + Conflist.store) == [])
                #expect(Remains.primaryRecords(in: containerd.node.root + Conflist.primaryStore) == [])
            }
        }

        @Test func `an ADD that fails after ours leaves nothing, and the pod runs at the next try`() throws {
            try withContainerd(Conflist(witness: true, failingAt: "ADD")) { containerd in
                let refusal = #expect(throws: CRI.Refusal.self) {
                    try containerd.cri.runSandbox(containerd.sandbox("pod"))
                }
                #expect(refusal?.text.contains("ADD fails as it was told to") == true, "\(refusal?.text ?? "no error")")
                try expectNothingLeft(on: containerd.node)
                try containerd.write(conflist: Conflist())
                var again = containerd.sandbox("pod")
                again.attempt = 1
                let sandbox = try waitUntil("the pod's second sandbox", timeout: 10, every: 0.2) {
                    () throws -> String? in try containerd.cri.runSandbox(again)
                }.value
                try containerd.cri.stopSandbox(sandbox)
                try containerd.cri.removeSandbox(sandbox)
                try expectNothingLeft(on: containerd.node)
            }
        }

        @Test func `our own refusal is in the runtime's error, with operation and subject`() throws {
            var conflist = Conflist()
            conflist.plugins[1]["ownerUid"] = 0
            try withContainerd(conflist) { containerd in
                let refusal = #expect(throws: CRI.Refusal.self) {
                    try containerd.cri.runSandbox(containerd.sandbox("pod"))
                }
                let text = refusal?.text ?? "no error"
                #expect(text.contains(#"plugin type="warren-cni" failed (add): read ownerUid: 0 is root"#), "\(text)")
                let left = try Remains.all(on: containerd.node)
                #expect(left == [])
            }
        }

        /// What a crash of an installer could do to a node, and why it writes to a name that no runtime reads.
        @Test func `half a conflist in the folder takes the node down; under a temporary name it does no harm`() throws
        {
            try withContainerd(Conflist()) { containerd in
                let running = try containerd.cri.runSandbox(containerd.sandbox("before"))
                let half = String(try Conflist().text.prefix(40))
                try containerd.writeBeside(".10-warren.conflist.new", half)
                usleep(300_000)
                #expect(try containerd.cri.network().isReady)
                try containerd.writeBeside("00-half.conflist", half)
                try waitUntil("NetworkReady false", timeout: 5) { try !containerd.cri.network().isReady }
                #expect(throws: CRI.Refusal.self) { try containerd.cri.runSandbox(containerd.sandbox("during")) }
                try containerd.writeBeside("00-half.conflist", nil)
                try waitUntil("NetworkReady true", timeout: 5) { try containerd.cri.network().isReady }
                #expect(try containerd.cri.sandboxes().contains(running))
                for sandbox in try containerd.cri.sandboxes() {
                    try containerd.cri.stopSandbox(sandbox)
                    try containerd.cri.removeSandbox(sandbox)
                }
                try expectNothingLeft(on: containerd.node)
            }
        }

        @Test func `fifty pods at once get fifty addresses, and give them all back`() throws {
            try withContainerd(Conflist()) { containerd in
                let (cri, node) = (containerd.cri, containerd.node)
                let configurations = (0..<50).map { containerd.sandbox("pod-\($0)") }
                let start = Clock.now
                let sandboxes = Table<String>()
                try concurrently(50, width: 50) { sandboxes[$0] = try cri.runSandbox(configurations[$0]) }
                figure("50 sandboxes at once run within", (Clock.now - start).milliseconds)
                #expect(Set(sandboxes.values).count == 50)
                let networks = try sandboxes.values.map { try cri.network(of: $0) }
                #expect(Set(networks.flatMap(\.mesh)).count == 100 && Set(networks.map(\.address)).count == 50)
                let removal = Clock.now
                try concurrently(50, width: 50) { index in
                    guard let sandbox = sandboxes[index] else { return }
                    try cri.stopSandbox(sandbox)
                    try cri.removeSandbox(sandbox)
                }
                figure("50 sandboxes at once removed within", (Clock.now - removal).milliseconds)
                try expectNothingLeft(on: node)
            }
        }
    }
}
