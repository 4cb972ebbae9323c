import JSON
import Synchronization
import Testing
import Timing

@testable import ClusterControl
@testable import Kubernetes

@Suite(.timeLimit(.minutes(1))) struct LeadershipTests {
    private typealias Step = TestAPIServer.Step

    /// The one lease of an API server, with its rules: 404, 409 for what exists or has changed.
    private final class LeaseObject: Sendable {
        private let state = Mutex<(object: JSONValue?, version: Int)>((nil, 0))
        var object: JSONValue? { state.withLock { $0.object } }

        func answer(_ request: TestAPIServer.Request) -> [Step] {
            state.withLock { state in
                let sent = request.json["metadata"]?["resourceVersion"]?.text
                switch request.method {
                case "GET": return state.object.map { Step.json(200, $0) } ?? Step.failure(404, "NotFound")
                case "POST" where state.object != nil: return Step.failure(409, "AlreadyExists")
                case "PUT" where sent != "\(state.version)": return Step.failure(409, "Conflict")
                case "POST", "PUT":
                    state.version += 1
                    let object: JSONValue = [
                        "metadata": ["name": "warren-injector", "resourceVersion": .string("\(state.version)")],
                        "spec": request.json["spec"] ?? .null,
                    ]
                    state.object = object
                    return Step.json(200, object)
                default: return Step.failure(405, "MethodNotAllowed")
                }
            }
        }
    }

    private static func time(_ seconds: UInt64) -> MonotonicTime { .zero + .seconds(1000 + seconds) }
    private static let wall = WallTime(seconds: 1_767_225_599)

    @Test func `one leads, the other takes over when nothing is renewed, and no sooner`() async throws {
        let lease = LeaseObject()
        try await TestAPIServer.with { _, request in
            lease.answer(request)
        } _: { server, configuration in
            let client = try KubernetesClient(configuration)
            func replica(_ name: String) -> Leadership {
                Leadership(client, namespace: "warren-system", name: "warren-injector", identity: name)
            }
            var (a, b) = (replica("a"), replica("b"))
            try await a.turn(now: Self.time(0), wall: Self.wall)
            #expect(a.isLeading(at: Self.time(1)))
            #expect(lease.object?["spec"]?["renewTime"]?.text == "2025-12-31T23:59:59.000000Z")
            try await b.turn(now: Self.time(1), wall: Self.wall)
            #expect(!b.isLeading(at: Self.time(1)))
            // Renewed: the other begins to wait anew.
            try await a.turn(now: Self.time(9), wall: Self.wall)
            try await b.turn(now: Self.time(10), wall: Self.wall)
            try await b.turn(now: Self.time(24), wall: Self.wall)
            #expect(!b.isLeading(at: Self.time(24)))
            // A leader that can't renew stops before the other may begin.
            #expect(a.isLeading(at: Self.time(18)) && !a.isLeading(at: Self.time(19)))
            try await b.turn(now: Self.time(25), wall: Self.wall)
            #expect(b.isLeading(at: Self.time(25)))
            #expect(lease.object?["spec"]?["leaseTransitions"]?.integer == 1)
            try await a.turn(now: Self.time(26), wall: Self.wall)
            #expect(!a.isLeading(at: Self.time(26)))
            // Given back: nobody waits.
            await b.resign(wall: Self.wall)
            #expect(!b.isLeading(at: Self.time(26)))
            try await a.turn(now: Self.time(27), wall: Self.wall)
            #expect(a.isLeading(at: Self.time(27)))
        }
    }

    @Test func `of two that see the same end, one gets it`() async throws {
        let lease = LeaseObject()
        try await TestAPIServer.with { _, request in
            lease.answer(request)
        } _: { _, configuration in
            let client = try KubernetesClient(configuration)
            let leaders = try await withThrowingTaskGroup(of: Bool.self) { group in
                for name in ["a", "b", "c", "d"] {
                    group.addTask {
                        var replica = Leadership(
                            client, namespace: "warren-system", name: "warren-injector", identity: name)
                        try await replica.turn(now: Self.time(0), wall: Self.wall)
                        return replica.isLeading(at: Self.time(0))
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(leaders == 1)
        }
    }

    @Test func `an API server that is away takes the lead when the lease would end`() async throws {
        try await TestAPIServer.with { number, _ in
            number < 2 ? (number == 0 ? Step.failure(404, "NotFound") : Step.json(201, [:])) : [.drop]
        } _: { _, configuration in
            var replica = Leadership(
                try KubernetesClient(configuration), namespace: "x", name: "l", identity: "a")
            try await replica.turn(now: Self.time(0), wall: Self.wall)
            await #expect(throws: KubernetesError.self) { try await replica.turn(now: Self.time(5), wall: Self.wall) }
            #expect(replica.isLeading(at: Self.time(9)) && !replica.isLeading(at: Self.time(10)))
        }
    }
}
