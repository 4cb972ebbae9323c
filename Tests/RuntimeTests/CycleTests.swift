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

        private static func environment(_ name: String) -> String? {
            unsafe getenv(name).map { unsafe String(cString: $0) }
        }

        @Test func `chains of ptp and warren-cni, with our plugin killed and runtimes that forget`() throws {
            let sandbox = try Sandbox.unique()
            Interruption.cleanUp { sandbox.tearDown() }
            defer { sandbox.tearDown() }
            print("  WARREN_SEED=\(Self.seed): \(Self.count) pods, \(Self.width) at once")
            let cycles = try PodCycles(in: sandbox, seed: Self.seed)
            let start = Clock.now
            try concurrently(Self.count, width: Self.width) { try cycles.run($0) }
            figure("\(Self.count) pod cycles", "\(cycles.tally), in \((Clock.now - start).milliseconds)")
            let reconciliation = Clock.now
            #expect(cycles.reconcile() == [])
            let seconds = Clock.now - reconciliation
            figure("reconciliation by GC", seconds.milliseconds)
            #expect(seconds < Self.patience)
            let left = try cycles.remains()
            #expect(left == [])
            // The run tells nothing if chance spared everything.
            let tally = cycles.tally
            for fate in PodCycles.Fate.allCases { #expect(tally[fate] > 0, "\(fate)") }
            #expect(tally.struck > 0)
        }

        @Test func `sandboxes of containerd, with containerd and our plugin killed`() throws {
            try withNode { node in
                print("  WARREN_SEED=\(Self.seed): \(Self.sandboxes) sandboxes")
                var random = SeededRandom(seed: Self.seed)
                let containerd = try Containerd(on: node, conflist: Conflist(), programs: false)
                let pods = SandboxLives(containerd.cri, parent: node.sandbox.name, count: Self.sandboxes)
                try pods.start()
                var kills = (runtime: 0, plugin: 0)
                while !pods.haveEnded {
                    usleep(UInt32.random(in: 100_000...600_000, using: &random))
                    if Int.random(in: 0..<3, using: &random) == 0 {
                        try containerd.kill()
                        try containerd.restart()
                        kills.runtime += 1
                    } else {
                        kills.plugin += node.killNext("warren-cni", within: 0.5) ? 1 : 0
                    }
                }
                try pods.join()
                figure(
                    "\(Self.sandboxes) sandboxes",
                    "\(pods.failures) failed by \(kills.runtime) kills of containerd and \(kills.plugin) of warren-cni")
                #expect(pods.duplicates == [])
                #expect(kills.runtime > 0 && kills.plugin > 0 && pods.failures < Self.sandboxes)
                let start = Clock.now
                try waitUntil("containerd without sandboxes", timeout: Self.patience, every: 0.2) {
                    for sandbox in try containerd.cri.sandboxes() {
                        try containerd.cri.stopSandbox(sandbox)
                        try containerd.cri.removeSandbox(sandbox)
                    }
                    return try containerd.cri.sandboxes().isEmpty
                }
                // What containerd has forgotten altogether, its own namespaces among it, no DEL will ever free.
                let forgotten = Remains.records(in: node.root + Conflist.store)
                let collector = try ChainRunner(
                    [
                        "cniVersion": "1.1.0", "name": Conflist.networkName,
                        "plugins": [Conflist.ours(dataDir: Conflist.store)],
                    ],
                    folders: [Node.plugins], sandbox: node.sandbox, enter: node.enter, root: node.root)
                #expect(collector.collectGarbage(valid: []).isEmpty)
                figure(
                    "reconciliation by DEL and GC",
                    "\((Clock.now - start).milliseconds), \(forgotten.count) by GC alone")
                #expect(Clock.now - start < Self.patience)
                #expect(Remains.records(in: node.root + Conflist.store) == [])
                #expect(node.processes("warren-cni") == [])
            }
        }
    }
}
