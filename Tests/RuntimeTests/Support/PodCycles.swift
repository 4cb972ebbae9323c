import Addressing
import Foundation
import Glibc
import Lab
import Linux
import Netlink
import Synchronization

/// Pods that are added to a chain of ptp and warren-cni and deleted again, each with a fate that a seed gives it.
final class PodCycles: Sendable {
    enum Fate: String, CaseIterable, Sendable {
        case orderly
        /// Our plugin is killed during ADD; the runtime calls DEL, and tries once more.
        case killedAdding
        /// Our plugin is killed during DEL; the runtime repeats it.
        case killedDeleting
        /// The pod's namespace goes before DEL.
        case namespaceFirst
        /// DEL comes twice.
        case deletedTwice
        /// The runtime dies and never calls DEL; the pod's namespace goes some time.
        case forgotten
    }

    struct Tally: Sendable, CustomStringConvertible {
        fileprivate var counts: [Fate: Int] = [:]
        /// ADDs that ended by the kill, and those that were faster.
        fileprivate(set) var struck = 0

        subscript(fate: Fate) -> Int { counts[fate, default: 0] }

        var description: String {
            Fate.allCases.map { "\(self[$0]) \($0.rawValue)" }.joined(separator: ", ") + ", \(struck) plugins struck"
        }
    }

    private let sandbox: Sandbox
    private let node: Namespace
    let store: String
    let agent: CycleAgent
    private let primaryStore: String
    private let seed: UInt64
    private let chain: ChainRunner
    private let forgetful: ChainRunner
    /// Version 1.1.0, which the primary plugin does not speak, for GC by ours.
    private let collector: ChainRunner
    /// Addresses that a pod has now, and which pod.
    private let live = Mutex<[String: Int]>([:])
    private let counts = Mutex(Tally())

    init(in sandbox: Sandbox, seed: UInt64) throws {
        self.sandbox = sandbox
        self.seed = seed
        node = try sandbox.namespace("node")
        try node.forward()
        // So that no entry ends by itself before somebody has looked for it.
        try node.run("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=600")
        agent = try CycleAgent(in: sandbox, node)
        try agent.start(seed: seed)
        store = agent.store
        primaryStore = sandbox.path("primary")
        let image = try Image(from: Programs.folder(), in: sandbox)
        let enter = ["nsenter", "--net=\(node.path)"]
        func runner(_ version: String, _ plugins: [[String: Any]]) throws -> ChainRunner {
            try ChainRunner(
                ["cniVersion": version, "name": Conflist.networkName, "plugins": plugins],
                folders: [image.folder, "/usr/lib/cni"], sandbox: sandbox, enter: enter)
        }
        let primary = Conflist.primary(dataDir: primaryStore, masquerades: false)
        var ours = Conflist.ours(dataDir: store)
        ours["nodePorts"] = ["range": "31000-31999", "namespaces": ["default"]] as [String: Any]
        ours["agent"] = agent.socket
        chain = try runner("1.0.0", [primary, ours])
        forgetful = try runner("1.0.0", [primary, ours])
        collector = try runner("1.1.0", [ours])
    }

    var tally: Tally { counts.withLock { $0 } }

    /// One pod's life. Throws when a verb fails that must not, or an address belongs to two.
    func run(_ index: Int) throws {
        var random = SeededRandom(seed: seed &+ UInt64(index) &* 0x2545_f491_4f6c_dd1d)
        let fate = fate(of: index)
        counts.withLock { $0.counts[fate, default: 0] += 1 }
        let namespace = try sandbox.namespace("pod-\(index)")
        let name = "pod-\(index)-\(String(random.next(), radix: 16))"
        var pod = ChainRunner.Attachment(name, netns: namespace.path)
        let runner = fate == .forgotten ? forgetful : chain
        // A whole call takes a few milliseconds, more when others run: so the kill comes at any point of it, or after.
        let moment = Double.random(in: 0.001...0.025, using: &random)
        if fate == .killedAdding {
            do {
                _ = try runner.add(pod, killing: moment)
            } catch let failure as ChainRunner.Failure {
                guard failure.status == 128 + SIGKILL else { throw failure }
                counts.withLock { $0.struck += 1 }
            }
            try runner.delete(pod)
            try expectNothing(of: pod, in: namespace)
            pod = ChainRunner.Attachment("\(name)-again", netns: namespace.path)
        }
        let result = try runner.add(pod)
        let addresses = ChainRunner.addresses(of: result, on: Plan.interface)
        guard addresses.count == 2 else { throw LabError.unexpected("\(pod.container) got \(addresses)") }
        try claim(addresses, for: index)
        guard try link(in: namespace) else { throw LabError.unexpected("\(pod.container) has no \(Plan.interface)") }
        try useNodePort(of: pod, in: namespace, ChainRunner.gateway(of: result))
        usleep(UInt32.random(in: 0...50_000, using: &random))
        live.withLock { live in for address in addresses { live[address] = nil } }
        try end(pod, fate, moment, runner, namespace)
        try sandbox.run("sh", "-c", "test ! -e \(namespace.path) || ip netns delete \(namespace.name)")
    }

    private func end(
        _ pod: ChainRunner.Attachment, _ fate: Fate, _ moment: Double, _ runner: ChainRunner, _ namespace: Namespace
    ) throws {
        switch fate {
        case .orderly, .killedAdding: try runner.delete(pod)
        case .killedDeleting:
            do {
                try runner.delete(pod, killing: moment / 2)
            } catch let failure as ChainRunner.Failure {
                guard failure.status == 128 + SIGKILL else { throw failure }
                counts.withLock { $0.struck += 1 }
            }
            try runner.delete(pod)
        case .namespaceFirst:
            try sandbox.run("ip", "netns", "delete", namespace.name)
            try runner.delete(pod, withoutNamespace: true)
        case .deletedTwice:
            try runner.delete(pod)
            try runner.delete(pod, withoutNamespace: true)
        case .forgotten: return
        }
        try expectNothing(of: pod, in: namespace)
    }

    /// Dealt, not drawn: of any 100 pods in a row each fate gets its share exactly. 37 has no factor in common with 100.
    private func fate(of index: Int) -> Fate {
        switch (index * 37 + Int(seed % 100)) % 100 {
        case ..<30: .orderly
        case ..<55: .killedAdding
        case ..<70: .killedDeleting
        case ..<80: .namespaceFirst
        case ..<90: .deletedTwice
        default: .forgotten
        }
    }

    private func claim(_ addresses: [String], for index: Int) throws {
        try live.withLock { live in
            for address in addresses {
                if let other = live[address] {
                    throw LabError.unexpected("\(address) belongs to pods \(other) and \(index)")
                }
                live[address] = index
            }
        }
    }

    /// After DEL neither the store nor the namespace knows the container any more.
    private func expectNothing(of pod: ChainRunner.Attachment, in namespace: Namespace) throws {
        for record in Remains.records(in: store) {
            let path = String(record.dropFirst("record ".count))
            if readText(path).contains(pod.container) || path.contains(pod.container) {
                throw LabError.unexpected("\(pod.container) was deleted and has \(record)")
            }
        }
        if fileExists(namespace.path), try link(in: namespace) {
            throw LabError.unexpected("\(pod.container) was deleted and has \(Plan.interface)")
        }
    }

    /// A datagram from the pod to its own port of the node, which conntrack remembers as translated.
    private func useNodePort(of pod: ChainRunner.Attachment, in namespace: Namespace, _ gateway: String?) throws {
        let alias = try NetworkNamespace(path: namespace.path).run {
            var routes = try RouteSocket()
            return try routes.link(named: Plan.interface)?.alias ?? ""
        }
        let words = alias.split(separator: " ")
        guard words.count == 5, let port = UInt16(words[2]), let address = gateway.flatMap({ IPAddress($0) }) else {
            throw LabError.unexpected("\(pod.container) has no port of the node: \(alias)")
        }
        try PlacedSocket.bind(in: namespace, "0.0.0.0", port: 40000).send([1], to: Endpoint(address, port: port))
    }

    private func link(in namespace: Namespace) throws -> Bool {
        try NetworkNamespace(path: namespace.path).run {
            var socket = try RouteSocket()
            return try socket.link(named: Plan.interface) != nil
        }
    }

    /// Records that no runtime deletes: the agent frees them when their pod's namespace is gone.
    var records: [String] { Remains.records(in: store) }

    /// What a runtime does that starts anew and has no pod any more: GC with an empty list, which is to free all of ours;
    /// then DEL for what it finds written down, for the sake of the primary plugin, which has no GC. Returns what failed.
    func reconcile() -> [String] {
        let collection = collector.collectGarbage(valid: []).map { "\($0)" }
        let uncollected = Remains.records(in: store).map { "after GC \($0)" }
        return collection + uncollected
            + (forgetful.collectGarbage(valid: []) + chain.collectGarbage(valid: [])).map { "\($0)" }
    }

    /// What is left of all pods.
    func remains() throws -> [String] {
        Remains.records(in: store) + Remains.primaryRecords(in: primaryStore)
            + (try Remains.network(besides: ["lo"]) { try node.nsenter($0) })
            + names(in: "/run/netns").filter { $0.hasPrefix("\(sandbox.name)-pod") }.map { "namespace \($0)" }
    }
}

extension Namespace {
    /// Runs a command here without the mounts that ip-netns(8) makes.
    func nsenter(_ words: [String]) throws -> Output {
        try sandbox.result(of: ["nsenter", "--net=\(path)"] + words)
    }
}
