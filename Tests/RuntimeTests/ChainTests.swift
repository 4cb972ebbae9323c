import Foundation
import Lab
import Testing

extension Runtimes {
    /// Chains of specification version 1.1.0, and the verbs that no packaged runtime calls.
    @Suite(.serialized) struct ChainTests {
        /// A node's network namespace and a folder for stores; the plugins see nothing else of their own.
        final class Bench {
            let sandbox: Sandbox
            let node: Namespace
            let plugins: String
            let store: String
            let log: String

            init(in sandbox: Sandbox) throws {
                self.sandbox = sandbox
                node = try sandbox.namespace("node")
                let image = try Image(from: Programs.folder(), in: sandbox)
                plugins = image.folder
                store = sandbox.path("store")
                log = sandbox.path("witness.log")
                try sandbox.run(
                    "install", "-m", "0755", "\(Repository.folder)/Tests/RuntimeTests/Programs/witness.py",
                    "\(plugins)/witness")
            }

            /// `witness` as the primary plugin, and again as the last.
            func chain(_ version: String = "1.1.0", failingAt verb: String? = nil) throws -> ChainRunner {
                var last: [String: Any] = ["type": "witness", "log": log]
                last["fail"] = verb
                return try ChainRunner(
                    [
                        "cniVersion": "0.4.0", "cniVersions": [version], "name": "chain",
                        "plugins": [
                            ["type": "witness", "log": log, "interface": "10.77.0.2/24"], Conflist.ours(dataDir: store),
                            last,
                        ],
                    ], folders: [plugins, "/usr/lib/cni"], sandbox: sandbox, enter: ["nsenter", "--net=\(node.path)"])
            }

            func pod(_ name: String) throws -> ChainRunner.Attachment {
                ChainRunner.Attachment(name, netns: try sandbox.namespace(name).path)
            }

            var records: [String] { Remains.records(in: store) }
        }

        private func withBench(_ body: (Bench) throws -> Void) throws {
            let sandbox = try Sandbox.unique()
            Interruption.cleanUp { sandbox.tearDown() }
            defer { sandbox.tearDown() }
            try body(try Bench(in: sandbox))
        }

        @Test(arguments: ["0.4.0", "1.0.0", "1.1.0"])
        func `a chain passes ADD, CHECK and DEL, and our result is for the version`(version: String) throws {
            try withBench { bench in
                let chain = try bench.chain(version)
                let pod = try bench.pod("pod")
                let result = try chain.add(pod)
                #expect(chain.version == version && result["cniVersion"] as? String == version)
                #expect(ChainRunner.addresses(of: result, on: "eth0") == ["10.77.0.2"])
                #expect(ChainRunner.addresses(of: result, on: Plan.interface).count == 2)
                #expect(bench.records.count >= 2)
                try chain.check(pod)
                try bench.sandbox.run("ip", "-n", "\(bench.sandbox.name)-pod", "link", "set", Plan.interface, "down")
                #expect(throws: ChainRunner.Failure.self) { try chain.check(pod) }
                try chain.delete(pod)
                #expect(bench.records == [])
                // A second time nothing is known: neither result nor namespace.
                try chain.delete(pod, withoutNamespace: true)
            }
        }

        @Test func `a plugin after ours that fails undoes the chain by DEL, and the next ADD works`() throws {
            try withBench { bench in
                let (failing, sound) = (try bench.chain(failingAt: "ADD"), try bench.chain())
                let pod = try bench.pod("pod")
                #expect(throws: ChainRunner.Failure.self) { try failing.add(pod) }
                try failing.delete(pod)
                #expect(bench.records == [])
                let result = try sound.add(pod)
                #expect(ChainRunner.addresses(of: result, on: Plan.interface).count == 2)
                try sound.delete(pod)
            }
        }

        @Test func `GC frees what is not valid and leaves alone what is`() throws {
            try withBench { bench in
                let chain = try bench.chain()
                let pods = try (0..<4).map { try bench.pod("pod-\($0)") }
                let addresses = try pods.map { ChainRunner.addresses(of: try chain.add($0), on: Plan.interface) }
                // A runtime that has lost its memory: only GC's list says what is valid.
                let reborn = try bench.chain()
                for lost in pods[2...] {
                    try bench.sandbox.run(
                        "ip", "netns", "delete", lost.netns.split(separator: "/").last.map(String.init) ?? "")
                }
                #expect(reborn.collectGarbage(valid: Array(pods[..<2])).isEmpty)
                let records = bench.records
                for address in addresses[..<2].joined() { #expect(records.contains { $0.hasSuffix("/\(address)") }) }
                for address in addresses[2...].joined() { #expect(!records.contains { $0.hasSuffix("/\(address)") }) }
                let collections = try Witness.calls(in: bench.log).filter { $0.verb == "GC" }
                #expect(collections.count == 2)
                #expect(
                    collections.allSatisfy {
                        Set(["cni.dev/attachments", "cni.dev/valid-attachments"]).isSubset(of: $0.keys)
                    })
                for pod in pods[..<2] { try chain.check(pod) }
                #expect(chain.collectGarbage(valid: []).isEmpty)
                #expect(bench.records == [])
            }
        }

        @Test func `STATUS says no while the store can't be written, at once, and yes when it can`() throws {
            try withBench { bench in
                let chain = try bench.chain()
                try chain.status()
                try bench.sandbox.run("rm", "-rf", bench.store)
                try writeText("a file where the store's folder should be", to: bench.store)
                let start = Clock.now
                let failure = #expect(throws: ChainRunner.Failure.self) { try chain.status() }
                let seconds = Clock.now - start
                #expect(failure?.plugin == "warren-cni" && failure?.code == 50, "\(failure.map(\.description) ?? "")")
                figure("STATUS of a chain of three with the second refusing", seconds.milliseconds)
                removeFile(bench.store)
                try chain.status()
            }
        }
    }
}
