import Foundation
import Glibc
import Lab
import Synchronization
import Testing

extension Runtimes {
    /// Pods come and go, many at a time, while programs are killed: at the end nothing of any of them is left.
    ///
    /// `make soak` asks for more of them; the seed of a run that failed is given again by WARREN_SEED.
    @Suite(.serialized) struct CycleTests {
        private static let count = Int(environment("WARREN_CYCLES") ?? "") ?? 100
        private static let seed = UInt64(environment("WARREN_SEED") ?? "") ?? .random(in: 1...UInt64(UInt32.max))
        private static let width = 50
        /// A whole sandbox takes as long as many calls of a plugin.
        private static let sandboxes = max(24, count / 10)
        /// Seconds within which everything must be reconciled.
        private static let patience = 30.0

        private enum Victim { case runtime, agent, plugin }

        private static func environment(_ name: String) -> String? {
            unsafe getenv(name).map { unsafe String(cString: $0) }
        }

        @Test func `chains of ptp and warren-cni, with plugin and agent killed and runtimes that forget`() throws {
            let sandbox = try Sandbox.unique()
            Interruption.cleanUp { sandbox.tearDown() }
            defer { sandbox.tearDown() }
            print("  WARREN_SEED=\(Self.seed): \(Self.count) pods, \(Self.width) at once")
            let cycles = try PodCycles(in: sandbox, seed: Self.seed)
            defer { cycles.agent.end() }
            let start = Clock.now
            try concurrently(Self.count, width: Self.width) { try cycles.run($0) }
            cycles.agent.settle()
            let ended = Clock.now
            figure(
                "\(Self.count) pod cycles",
                "\(cycles.tally), \(cycles.agent.kills) agents killed, in \((ended - start).milliseconds)")
            // First what the agent frees by itself, for no runtime asks for it any more.
            let forgotten = cycles.records
            while !cycles.records.isEmpty, Clock.now - ended < Self.patience { usleep(50_000) }
            figure("reconciliation by the agent", "\(forgotten.count) records in \((Clock.now - ended).milliseconds)")
            #expect(cycles.records == [])
            let collection = Clock.now
            #expect(cycles.reconcile() == [])
            figure("GC of all networks", (Clock.now - collection).milliseconds)
            // What conntrack has is forgotten by children that nobody waits for.
            while try !cycles.remains().isEmpty, Clock.now - ended < Self.patience { usleep(50_000) }
            #expect(Clock.now - ended < Self.patience)
            let left = try cycles.remains()
            #expect(left == [])
            #expect(cycles.agent.faults == [] && cycles.agent.kills > 0)
            // The run tells nothing if chance spared everything.
            let tally = cycles.tally
            for fate in PodCycles.Fate.allCases { #expect(tally[fate] > 0, "\(fate)") }
            #expect(tally.struck > 0)
        }

        @Test func `sandboxes of containerd, with containerd, agent and plugin killed`() throws {
            try withNode { node in
                print("  WARREN_SEED=\(Self.seed): \(Self.sandboxes) sandboxes")
                var random = SeededRandom(seed: Self.seed)
                let containerd = try Containerd(on: node, conflist: .primaryAlone, programs: false)
                let ports = #"{"nodePorts": {"range": "31000-31999", "namespaces": ["default"]}}"#
                let agent = try NodeAgent(on: node, confFolder: Containerd.networks, more: ports)
                try containerd.waitForPlugin()
                let pods = SandboxLives(containerd.cri, parent: node.sandbox.name, count: Self.sandboxes)
                try pods.start()
                var kills = (runtime: 0, agent: 0, plugin: 0)
                // Dealt in rounds of four, so that none is spared by chance.
                var victims: [Victim] = []
                while !pods.haveEnded {
                    usleep(UInt32.random(in: 100_000...500_000, using: &random))
                    if victims.isEmpty { victims = [.runtime, .agent, .plugin, .plugin].shuffled(using: &random) }
                    switch victims.removeLast() {
                    case .runtime:
                        try containerd.kill()
                        try containerd.restart()
                        kills.runtime += 1
                    case .agent:
                        try agent.kill()
                        try agent.restart()
                        kills.agent += 1
                    case .plugin:
                        kills.plugin += node.killNext("warren-cni", within: 0.5) ? 1 : 0
                    }
                }
                try pods.join()
                figure(
                    "\(Self.sandboxes) sandboxes",
                    """
                    \(pods.failures) failed by \(kills.runtime) kills of containerd, \(kills.agent) of warren-node \
                    and \(kills.plugin) of warren-cni
                    """)
                #expect(pods.duplicates == [])
                #expect(kills.runtime > 0 && kills.agent > 0 && kills.plugin > 0 && pods.failures < Self.sandboxes)
                let start = Clock.now
                try waitUntil("containerd without sandboxes", timeout: Self.patience, every: 0.2) {
                    for sandbox in try containerd.cri.sandboxes() {
                        try containerd.cri.stopSandbox(sandbox)
                        try containerd.cri.removeSandbox(sandbox)
                    }
                    return try containerd.cri.sandboxes().isEmpty
                }
                // Namespaces that containerd has forgotten are all that tells of their pods: nobody else's to remove. Without
                // them the agent frees the rest, which no DEL ever will.
                let store = node.root + Conflist.store
                let forgotten = Remains.records(in: store)
                for name in names(in: "\(node.root)/run/netns") {
                    _ = try node.result(of: ["sh", "-c", "umount /run/netns/\(name); rm /run/netns/\(name)"])
                }
                func left() throws -> [String] {
                    try Remains.records(in: store)
                        + Remains.network(besides: ["lo", "wan"], rules: false) { try node.result(of: $0) }
                }
                while try !left().isEmpty, Clock.now - start < Self.patience { usleep(200_000) }
                figure(
                    "reconciliation by DEL and the agent",
                    "\((Clock.now - start).milliseconds), \(forgotten.count) records by the agent alone")
                #expect(try left() == [])
                // Those that make conntrack forget a pod's flows begin half a second after its plugin has answered.
                while !node.processes("warren-cni").isEmpty, Clock.now - start < Self.patience { usleep(50_000) }
                #expect(node.processes("warren-cni") == [])
            }
        }
    }
}
