import JSON
import Testing

@testable import Kubernetes

@Suite struct WatchTests {
    private typealias Step = TestAPIServer.Step
    private static let path = ResourcePath(namespace: "warren-system", "secrets")

    private static func object(_ name: String, _ version: Int) -> JSONValue {
        ["metadata": ["name": .string(name), "resourceVersion": .string("\(version)")]]
    }

    private static func list(_ names: [String], _ version: Int, continuing: String = "") -> [Step] {
        Step.json(
            200,
            [
                "kind": "SecretList", "apiVersion": "v1",
                "metadata": ["resourceVersion": .string("\(version)"), "continue": .string(continuing)],
                "items": .array(names.map { object($0, 1) }),
            ])
    }

    private static func line(_ type: String, _ object: JSONValue) -> Step {
        let event: JSONValue = ["type": .string(type), "object": object]
        return .body(String(decoding: event.serialized, as: UTF8.self) + "\n")
    }

    private static func bookmark(_ version: Int) -> Step {
        line("BOOKMARK", ["kind": "Secret", "metadata": ["resourceVersion": .string("\(version)")]])
    }

    private static let forever: Step = .wait { try? await Task.sleep(nanoseconds: 60_000_000_000) }

    /// Follows until there are `count` events; gives them with what went wrong on the way.
    private static func follow(
        _ count: Int, selector: String = "", _ answer: @escaping @Sendable (Int, TestAPIServer.Request) async -> [Step]
    ) async throws -> (events: [WatchEvent], troubles: [KubernetesError], requests: [TestAPIServer.Request]) {
        let events = Journal<WatchEvent>()
        let troubles = Journal<KubernetesError>()
        var requests: [TestAPIServer.Request] = []
        try await TestAPIServer.with(answer) { server, configuration in
            let client = try KubernetesClient(configuration) { _ in try await Task.sleep(nanoseconds: 1_000_000) }
            let following = Task {
                _ = try? await client.follow(path, selector: selector) {
                    events.note($0)
                } onTrouble: {
                    troubles.note($0)
                }
            }
            let reached = await events.reaches(count)
            #expect(reached, "\(events.entries) \(troubles.entries)")
            following.cancel()
            await following.value
            requests = server.requests
        }
        return (events.entries, troubles.entries, requests)
    }

    @Test func `lists, then tells each change in its order`() async throws {
        let (events, troubles, requests) = try await Self.follow(4, selector: "metadata.name=a") { number, _ in
            guard number > 0 else { return Self.list(["a"], 100) }
            return [
                .head(200, [:]), Self.line("ADDED", Self.object("b", 101)), Self.bookmark(105),
                Self.line("MODIFIED", Self.object("a", 110)), Self.line("DELETED", Self.object("b", 111)), Self.forever,
            ]
        }
        #expect(
            events == [
                .listed([Self.object("a", 1)]), .added(Self.object("b", 101)), .modified(Self.object("a", 110)),
                .deleted(Self.object("b", 111)),
            ])
        #expect(troubles.isEmpty)
        #expect(requests[0].query["fieldSelector"] == "metadata.name=a")
        #expect(requests[1].query["resourceVersion"] == "100")
        #expect(requests[1].query["allowWatchBookmarks"] == "true")
        #expect(requests[1].query["watch"] == "1")
        #expect(requests[1].query["fieldSelector"] == "metadata.name=a")
    }

    @Test func `a watch that ends or breaks goes on where it was, at a bookmark too`() async throws {
        let (events, _, requests) = try await Self.follow(3) { number, _ in
            switch number {
            case 0: Self.list([], 100)
            case 1: [.head(200, [:]), Self.line("ADDED", Self.object("a", 101)), Self.bookmark(150), .end]
            case 2: [.head(200, [:]), Self.line("ADDED", Self.object("b", 160)), .drop]
            default: [.head(200, [:]), Self.forever]
            }
        }
        #expect(events == [.listed([]), .added(Self.object("a", 101)), .added(Self.object("b", 160))])
        #expect(requests.count >= 3)
        #expect(requests[2].query["resourceVersion"] == "150")
        if requests.count > 3 { #expect(requests[3].query["resourceVersion"] == "160") }
    }

    @Test func `410 Gone, as an answer or an event, lists anew`() async throws {
        let status: JSONValue = [
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
            "message": "too old resource version: 100 (200)",
        ]
        let (events, _, requests) = try await Self.follow(3) { number, _ in
            switch number {
            case 0: Self.list(["a"], 100)
            case 1: [.head(200, [:]), Self.line("ERROR", status), .end]
            case 2: Self.list(["b"], 200)
            case 3: Step.failure(410, "Expired")
            case 4: Self.list(["c"], 300)
            default: [.head(200, [:]), Self.forever]
            }
        }
        #expect(
            events == [
                .listed([Self.object("a", 1)]), .listed([Self.object("b", 1)]), .listed([Self.object("c", 1)]),
            ])
        #expect(requests[3].query["resourceVersion"] == "200")
    }

    @Test func `a long list comes in pages, and starts over when it expired`() async throws {
        let (events, _, requests) = try await Self.follow(1) { number, _ in
            switch number {
            case 0: Self.list(["a"], 100, continuing: "to/be+continued")
            case 1: Step.failure(410, "Expired")
            case 2: Self.list(["a"], 101, continuing: "again")
            case 3: Self.list(["b", "c"], 101)
            default: [.head(200, [:]), Self.forever]
            }
        }
        #expect(events == [.listed([Self.object("a", 1), Self.object("b", 1), Self.object("c", 1)])])
        #expect(requests[1].query["continue"] == "to/be+continued")
        #expect(requests[2].query["continue"] == nil)
        #expect(requests[3].query["continue"] == "again")
    }

    @Test func `junk, refusals and a server that is away are told, and tried again`() async throws {
        let (events, troubles, _) = try await Self.follow(2) { number, _ in
            switch number {
            case 0: Step.failure(403, "Forbidden")
            case 1: Self.list([], 100)
            case 2: [.head(200, [:]), .body("junk\n"), .end]
            case 3: [.head(200, [:]), .body("{\"type\":\"ADDED\"}\n"), .end]
            case 4: [.drop]
            case 5: [.head(200, [:]), Self.line("ADDED", Self.object("a", 101)), Self.forever]
            default: [.drop]
            }
        }
        #expect(events == [.listed([]), .added(Self.object("a", 101))])
        #expect(troubles.count == 4, "\(troubles)")
    }

    @Test func `ends when it is cancelled, though the watch is silent`() async throws {
        try await TestAPIServer.with { number, _ in
            number == 0 ? Self.list([], 1) : [.head(200, [:]), Self.forever]
        } _: { server, configuration in
            let client = try KubernetesClient(configuration)
            let listed = Journal<WatchEvent>()
            let following = Task {
                _ = try? await client.follow(Self.path) {
                    listed.note($0)
                } onTrouble: { _ in
                }
            }
            #expect(await listed.reaches(1))
            following.cancel()
            let time = await ContinuousClock().measure { await following.value }
            #expect(time < .seconds(5))
        }
    }
}
