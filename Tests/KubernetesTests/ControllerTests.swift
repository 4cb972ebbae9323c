import JSON
import Logging
import Metrics
import Synchronization
import TestSupport
import NIOHTTP1
import Testing
import Timing

@testable import ClusterControl
@testable import Kubernetes

/// The controller against an API server that answers as a real one does.
@Suite(.timeLimit(.minutes(2))) struct ControllerTests {
    private typealias Step = TestAPIServer.Step

    /// What the cluster has, and what was asked of it.
    private final class Cluster: Sendable {
        let requests = Journal<TestAPIServer.Request>()
        let events = Journal<(plural: String, line: String)>()
        private let evictions = Mutex(0)

        func watchLine(_ type: String, _ object: JSONValue) -> String {
            let event: JSONValue = ["type": .string(type), "object": object]
            return String(decoding: event.serialized, as: UTF8.self) + "\n"
        }

        func answer(_ request: TestAPIServer.Request, nodes: [JSONValue], pods: [JSONValue]) async -> [Step] {
            if request.method != "GET" { requests.note(request) }
            switch (request.method, request.path) {
            case ("GET", let path) where path.hasSuffix("/leases/warren-injector"): return Step.failure(404, "NotFound")
            case ("POST", let path) where path.hasSuffix("/leases"): return Step.json(201, request.json)
            case ("GET", "/api/v1/nodes") where request.query["watch"] == nil: return Self.list(nodes)
            case ("GET", "/api/v1/pods") where request.query["watch"] == nil: return Self.list(pods)
            case ("GET", let path):
                let plural = String(path.split(separator: "/").last ?? "")
                let late = events.entries.filter { $0.plural == plural }.map { Step.body($0.line) }
                return [.head(200, [:])] + late + [.wait { try? await Task.sleep(nanoseconds: 60_000_000_000) }]
            case ("POST", let path) where path.hasSuffix("/eviction"):
                let number = evictions.withLock {
                    $0 += 1
                    return $0
                }
                // The first is refused, as by a disruption budget.
                return number == 1 ? Step.failure(429, "TooManyRequests", ["Retry-After": "10"]) : Step.json(201, [:])
            case ("PATCH", _): return Step.json(200, [:])
            case ("POST", _): return Step.json(201, request.json)
            default: return Step.failure(404, "NotFound")
            }
        }

        private static func list(_ items: [JSONValue]) -> [Step] {
            Step.json(200, ["metadata": ["resourceVersion": "100"], "items": .array(items)])
        }
    }

    /// Time that goes ten times as fast: a leader's ten seconds without a renewal are one, in which requests are answered.
    private static func fastClock() -> @Sendable () -> MonotonicTime {
        let start = MonotonicTime.now()
        return { start + MonotonicTime.now().since(start) * 10 }
    }

    private static func node(_ name: String, taints: [JSONValue] = [], system: String = "linux") -> JSONValue {
        [
            "metadata": [
                "name": .string(name), "resourceVersion": "7", "labels": ["kubernetes.io/os": .string(system)],
            ],
            "spec": ["taints": .array(taints)],
        ]
    }

    private static let taint: JSONValue = ["key": "warren.dev/not-ready", "effect": "NoSchedule"]
    private static let other: JSONValue = ["key": "example.com/gpu", "value": "a", "effect": "NoExecute"]

    private static func run(
        nodes: [JSONValue], pods: [JSONValue], isDryRun: Bool = false,
        until isDone: @escaping @Sendable ([TestAPIServer.Request]) -> Bool
    ) async throws -> (requests: [TestAPIServer.Request], metrics: ExpositionText) {
        let cluster = Cluster()
        var text = ""
        try await TestAPIServer.with { _, request in
            await cluster.answer(request, nodes: nodes, pods: pods)
        } _: { _, configuration in
            var options = ControllerOptions(namespace: "warren-system", identity: "test")
            options.isDryRun = isDryRun
            options.evictionsPerMinute = 60
            let controller = Controller(
                try KubernetesClient(configuration), options,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                now: fastClock())
            let running = Task { await controller.run() }
            for _ in 0..<4000 where !isDone(cluster.requests.entries) {
                try await Task.sleep(nanoseconds: 10_000_000)
            }
            var page = Exposition(prefix: "")
            controller.metrics.write(to: &page)
            text = page.text
            running.cancel()
            await running.value
        }
        return (cluster.requests.entries, try ExpositionText(text))
    }

    @Test func `taints the node without a ready agent, frees the one with, and touches no other`() async throws {
        let (requests, metrics) = try await Self.run(
            nodes: [
                Self.node("good"), Self.node("better", taints: [Self.other, Self.taint]),
                Self.node("bad", taints: [Self.other]), Self.node("windows", system: "windows"),
            ],
            pods: [
                PodObjects.agent("w1", node: "good", isReady: true),
                PodObjects.agent("w2", node: "better", isReady: true),
                PodObjects.agent("w3", node: "bad", isReady: false),
            ]
        ) { $0.count { $0.method == "PATCH" } >= 2 }
        let patches = requests.filter { $0.method == "PATCH" }
        #expect(Set(patches.map(\.path)) == ["/api/v1/nodes/bad", "/api/v1/nodes/better"])
        let bad = try #require(patches.first { $0.path.hasSuffix("/bad") })
        #expect(bad.headers["content-type"] == ["application/json-patch+json"])
        #expect(bad.json.elements?[0]["path"]?.text == "/metadata/resourceVersion")
        #expect(bad.json.elements?[1]["value"]?.elements == [Self.other, Self.taint])
        let better = try #require(patches.first { $0.path.hasSuffix("/better") })
        #expect(better.json.elements?[1]["value"]?.elements == [Self.other])
        #expect(metrics.value("warren_controller_leader") == 1)
        #expect(metrics.value("warren_controller_nodes", ["state": "ready"]) == 2)
        #expect(metrics.value("warren_controller_nodes", ["state": "not-ready"]) == 1)
    }

    @Test func `evicts an unprotected pod, again where a budget says not now, with an event that says why`()
        async throws
    {
        let (requests, metrics) = try await Self.run(
            nodes: [Self.node("good")],
            pods: [
                PodObjects.agent("w1", node: "good", isReady: true), PodObjects.unprotected("naked", owner: "rs"),
                PodObjects.unprotected("alone", owner: nil), PodObjects.protected("fine"),
                PodObjects.unprotected("system", owner: "rs", namespace: "kube-system"),
            ]
        ) { $0.contains { $0.path.hasSuffix("/events") && $0.json["message"]?.text?.hasPrefix("Evicted") == true } }
        let evictions = requests.filter { $0.path.hasSuffix("/eviction") }
        #expect(evictions.map(\.path) == Array(repeating: "/api/v1/namespaces/agents/pods/naked/eviction", count: 2))
        #expect(try #require(evictions.first).json["deleteOptions"]?["preconditions"]?["uid"]?.text == "uid-naked")
        let events = requests.filter { $0.path == "/api/v1/namespaces/agents/events" }
        let subjects = events.compactMap { $0.json["involvedObject"]?["name"]?.text }
        #expect(Set(subjects) == ["naked", "alone"] && subjects.count == 2)
        #expect(events.allSatisfy { $0.json["reason"]?.text == "WarrenNoSidecar" })
        #expect(!requests.contains { $0.method == "DELETE" })
        #expect(metrics.value("warren_controller_evictions_total", ["result": "refused"]) == 1)
        #expect(metrics.value("warren_controller_evictions_total", ["result": "evicted"]) == 1)
        #expect(metrics.value("warren_controller_unprotected_pods") == 2)
    }

    @Test func `a dry run says what it would do, and does nothing`() async throws {
        let (requests, metrics) = try await Self.run(
            nodes: [Self.node("good"), Self.node("bad")],
            pods: [
                PodObjects.agent("w1", node: "good", isReady: true), PodObjects.unprotected("naked", owner: "rs"),
            ], isDryRun: true
        ) { $0.contains { $0.path.hasSuffix("/events") } }
        #expect(!requests.contains { $0.method == "PATCH" || $0.path.hasSuffix("/eviction") })
        #expect(requests.contains { $0.json["message"]?.text?.hasPrefix("Would be evicted (dry run)") == true })
        #expect(metrics.value("warren_controller_taints_total", ["action": "dry-run"]) ?? 0 >= 1)
        #expect(metrics.value("warren_controller_evictions_total", ["result": "dry-run"]) ?? 0 >= 1)
    }

    @Test func `without a node agent in the whole cluster nothing is tainted`() async throws {
        let (requests, _) = try await Self.run(
            nodes: [Self.node("a"), Self.node("b", taints: [Self.taint])], pods: []
        ) { $0.contains { $0.method == "PATCH" } }
        #expect(requests.filter { $0.method == "PATCH" }.map(\.path) == ["/api/v1/nodes/b"])
    }
}
