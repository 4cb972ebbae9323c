import Addressing
import Glibc
import Linux
import Netlink
import TestSupport
import Testing

@testable import CNI

/// The built program killed at each of its system calls, from the loader's first to its last, by strace. Whatever it
/// leaves must be freed by the runtime's DEL, by its GC and by the node's reconciler, each alone, and no address may
/// have two holders in between. Needs root and strace.
@Suite struct CrashTests {
    enum Cleaner: CaseIterable {
        case delete, collectGarbage, reconcile
    }

    /// Another attachment that lives through all of it, in a range that six leftovers would fill.
    private let runtime: Runtime
    private let bystander: ScratchNamespace
    private let configuration: String

    init() throws {
        runtime = try Runtime()
        bystander = try ScratchNamespace()
        configuration = runtime.configuration("1.1.0", range: "10.9.7.0/29")
        let environment = Self.environment(runtime, "ADD", "bystander", bystander.path)
        let added = try runtime.call(environment, configuration)
        try #require(added.status == 0, "\(added.output)")
    }

    /// Without the pod's uid: each container has its own address.
    private static func environment(
        _ runtime: Runtime, _ command: String, _ container: String, _ netns: String
    ) -> [String: String] {
        runtime.environment(command, container: container, netns: netns).merging(["CNI_ARGS": ""]) { $1 }
    }

    private func environment(_ command: String, _ container: String, _ pod: NamespaceHolder) -> [String: String] {
        Self.environment(runtime, command, container, pod.netns)
    }

    private struct SystemCall: CustomStringConvertible {
        let name: String
        /// The first is 1: strace counts each name by itself.
        let occurrence: Int

        var description: String { "\(name) \(occurrence)" }
    }

    /// The system calls of an undisturbed run, in their order.
    private func systemCalls(_ environment: [String: String]) throws -> [SystemCall] {
        let strace = ["/usr/bin/strace", "-qq", "-o", "\(runtime.folder.path)/trace"]
        let outcome = try runtime.start(environment, configuration, through: strace).wait()
        try #require(outcome.status == 0, "\(outcome.diagnostics)\(outcome.output)")
        var counts: [String: Int] = [:]
        var calls: [SystemCall] = []
        for line in runtime.folder.text("trace").split(separator: "\n") {
            let name = String(line.prefix { $0 != "(" })
            guard name.count < line.count, name.first?.isLetter == true else { continue }
            counts[name, default: 0] += 1
            calls.append(SystemCall(name: name, occurrence: counts[name] ?? 1))
        }
        return calls
    }

    /// False when the program got through before the kill.
    private func isKilled(at call: SystemCall, _ environment: [String: String]) throws -> Bool {
        let injection = "inject=\(call.name):signal=KILL:when=\(call.occurrence)"
        let strace = ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", injection]
        let outcome = try runtime.start(environment, configuration, through: strace).wait()
        try #require(outcome.status == -SIGKILL || outcome.status == 0, "\(outcome.diagnostics)\(outcome.output)")
        return outcome.status != 0
    }

    /// Each address on a live interface is reserved for its container, and the bystander has what it had.
    private func expectOneHolderEach(_ container: String, _ pod: NamespaceHolder, _ call: SystemCall) throws {
        let present = try NetworkNamespace(path: pod.netns).run {
            var socket = try RouteSocket()
            guard let link = try socket.link(named: "warren0") else { return [IPAddress]() }
            return try socket.addresses(on: link).map(\.prefix.address)
        }
        for address in present {
            #expect(runtime.folder.read("networks/mesh/\(address)") == "\(container)\r\neth0", "call \(call)")
        }
        #expect(runtime.attachments.contains("bystander:eth0"), "call \(call)")
        #expect(runtime.folder.read("networks/mesh/10.9.7.1") == "bystander\r\neth0", "call \(call)")
    }

    private func clean(_ cleaner: Cleaner, _ container: String, _ pod: inout NamespaceHolder?) throws {
        switch cleaner {
        case .delete:
            let answer = try runtime.call(environment("DEL", container, #require(pod)), configuration)
            #expect(answer.status == 0 && answer.diagnostics.isEmpty, "\(answer.diagnostics)")
        case .collectGarbage:
            let list = #""cni.dev/valid-attachments":[{"containerID":"bystander","ifname":"eth0"}]"#
            let text = "\(configuration.dropLast()),\(list)}"
            #expect(try runtime.call(["CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"], text).status == 0)
        case .reconcile:
            pod = nil
            let report = Reconciler(dataDir: runtime.folder.path).run(now: Int64(time(nil)) + Reconciler.grace)
            #expect(report.faults == [])
        }
    }

    private func expectNothingLeft(_ pod: NamespaceHolder?, _ call: SystemCall) throws {
        #expect(runtime.attachments == ["bystander:eth0"], "call \(call)")
        #expect(runtime.records.count == 2, "call \(call): \(runtime.records)")
        guard let pod else { return }
        let link = try NetworkNamespace(path: pod.netns).run {
            var socket = try RouteSocket()
            return try socket.link(named: "warren0")
        }
        #expect(link == nil, "call \(call)")
    }

    /// Each call once, where DEL cleans up. What it leaves is the same for the others, which see every third, or all of them
    /// with WARREN_CRASHES=all.
    private static func sampled(_ calls: [SystemCall], for cleaner: Cleaner) -> [(Int, SystemCall)] {
        let wish = unsafe getenv("WARREN_CRASHES").map { unsafe String(cString: $0) }
        let isAll = cleaner == .delete || wish == "all"
        return calls.enumerated().filter { isAll || $0.offset % 3 == (cleaner == .reconcile ? 1 : 2) }.map { ($0, $1) }
    }

    @Test(arguments: Cleaner.allCases)
    func `ADD killed anywhere leaves nothing that is not freed`(cleaner: Cleaner) throws {
        let traced = try NamespaceHolder()
        let calls = try systemCalls(environment("ADD", "traced", traced))
        #expect(try runtime.call(environment("DEL", "traced", traced), configuration).status == 0)
        var killed = 0
        for (index, call) in Self.sampled(calls, for: cleaner) {
            var pod: NamespaceHolder? = try NamespaceHolder()
            let holder = try #require(pod)
            let container = "c\(index)"
            if try isKilled(at: call, environment("ADD", container, holder)) { killed += 1 }
            try expectOneHolderEach(container, holder, call)
            _ = consume holder
            try clean(cleaner, container, &pod)
            try expectNothingLeft(pod, call)
        }
        // Memory is asked for once more or less often from run to run.
        #expect(calls.count > 80 && killed > Self.sampled(calls, for: cleaner).count - 5)
        // All six addresses but the bystander's can still be had.
        var pods: [ScratchNamespace] = []
        for index in 0..<5 {
            pods.append(try ScratchNamespace())
            let environment = Self.environment(runtime, "ADD", "last\(index)", pods[index].path)
            #expect(try runtime.call(environment, configuration).status == 0)
        }
    }

    @Test(arguments: Cleaner.allCases)
    func `DEL killed anywhere leaves nothing that is not freed`(cleaner: Cleaner) throws {
        let traced = try NamespaceHolder()
        #expect(try runtime.call(environment("ADD", "traced", traced), configuration).status == 0)
        let calls = try systemCalls(environment("DEL", "traced", traced))
        var killed = 0
        for (index, call) in Self.sampled(calls, for: cleaner) {
            var pod: NamespaceHolder? = try NamespaceHolder()
            let holder = try #require(pod)
            let container = "c\(index)"
            let added = try runtime.call(environment("ADD", container, holder), configuration)
            try #require(added.status == 0, "\(call): \(added.output)")
            if try isKilled(at: call, environment("DEL", container, holder)) { killed += 1 }
            try expectOneHolderEach(container, holder, call)
            _ = consume holder
            try clean(cleaner, container, &pod)
            try expectNothingLeft(pod, call)
        }
        // How often it looks whether the interface is gone yet varies, by four calls each time.
        #expect(calls.count > 50 && killed > Self.sampled(calls, for: cleaner).count - 25)
    }

    @Test func `sixteen ADDs and DELs at once keep apart`() throws {
        let wide = runtime.configuration("1.1.0")
        let pods = try (0..<16).map { _ in try ScratchNamespace() }
        func all(_ command: String) throws -> [Runtime.Answer] {
            let running = try pods.enumerated().map { index, pod in
                try runtime.start(Self.environment(runtime, command, "p\(index)", pod.path), wide)
            }
            return try running.map { process in
                let outcome = try process.wait()
                return Runtime.Answer(status: outcome.status, output: outcome.output, diagnostics: outcome.diagnostics)
            }
        }
        let given = try all("ADD").flatMap(\.addresses)
        #expect(given.count == 32 && Set(given).count == 32)
        #expect(runtime.attachments.count == 17 && runtime.records.count == 34)
        for pod in pods { #expect(try pod.link("warren0") != nil) }
        #expect(try all("DEL").allSatisfy { $0.status == 0 && $0.diagnostics.isEmpty })
        #expect(runtime.attachments == ["bystander:eth0"] && runtime.records.count == 2)
        for pod in pods { #expect(try pod.link("warren0") == nil) }
    }
}
