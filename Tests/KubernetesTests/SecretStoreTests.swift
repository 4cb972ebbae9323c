import Addressing
import JSON
import Logging
import Synchronization
import Testing
import Timing

@testable import Injection
@testable import Injector
@testable import Kubernetes

/// An API server that keeps a Secret and a MutatingWebhookConfiguration, with resource versions as the real one has them.
private final class Cluster: Sendable {
    struct State {
        var secret: JSONValue?
        var webhooks: JSONValue
        var version = 100
        /// Who is faster than the next writes.
        var rivals = 0
    }

    let state: Mutex<State>

    init(webhooks: Int = 3) {
        let entries: [JSONValue] = (0..<webhooks).map {
            ["name": .string("w\($0).warren.dev"), "clientConfig": ["service": ["name": "warren-injector"]]]
        }
        state = Mutex(
            State(webhooks: [
                "kind": "MutatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1",
                "metadata": ["name": "warren-injector", "resourceVersion": "7"], "webhooks": .array(entries),
            ]))
    }

    var bundles: [String] {
        state.withLock { state in
            (state.webhooks["webhooks"]?.elements ?? []).map { webhook in
                let text = webhook["clientConfig"]?["caBundle"]?.text
                return text.flatMap { Base64.decode($0) }.map { String(decoding: $0, as: UTF8.self) } ?? ""
            }
        }
    }

    func answer(_ request: TestAPIServer.Request) -> [TestAPIServer.Step] {
        state.withLock { state in
            let isSecret = request.path.contains("/secrets")
            if request.query["limit"] != nil {
                return TestAPIServer.Step.json(200, ["metadata": ["resourceVersion": "1"], "items": []])
            }
            if request.query["watch"] != nil {
                return [.head(200, [:]), .wait { try? await Task.sleep(nanoseconds: 30_000_000_000) }]
            }
            if request.method != "GET", state.rivals > 0 {
                state.rivals -= 1
                state.version += 1
                if isSecret { state.secret = state.secret.map { Self.versioned($0, state.version) } }
                if !isSecret { state.webhooks = Self.versioned(state.webhooks, state.version) }
            }
            let present = (isSecret ? state.secret : state.webhooks)?["metadata"]?["resourceVersion"]?.text
            switch (request.method, isSecret) {
            case ("GET", true):
                guard let secret = state.secret else { return TestAPIServer.Step.failure(404, "NotFound") }
                return TestAPIServer.Step.json(200, secret)
            case ("GET", false): return TestAPIServer.Step.json(200, state.webhooks)
            case ("POST", true):
                guard state.secret == nil else { return TestAPIServer.Step.failure(409, "AlreadyExists") }
                state.version += 1
                state.secret = Self.versioned(request.json, state.version)
                return TestAPIServer.Step.json(201, state.secret ?? .null)
            case ("PUT", true):
                guard request.json["metadata"]?["resourceVersion"]?.text == present else {
                    return TestAPIServer.Step.failure(409, "Conflict")
                }
                state.version += 1
                state.secret = Self.versioned(request.json, state.version)
                return TestAPIServer.Step.json(200, state.secret ?? .null)
            case ("PATCH", false):
                let operations = request.json.elements ?? []
                guard operations.first?["op"] == "test", operations.first?["value"]?.text == present else {
                    return TestAPIServer.Step.failure(422, "Invalid")
                }
                var patch = JSONPatch()
                for operation in operations.dropFirst() {
                    let path = operation["path"]?.text ?? ""
                    patch.add(path.split(separator: "/").map(String.init), operation["value"] ?? .null)
                }
                state.version += 1
                state.webhooks = Self.versioned(patch.applied(to: state.webhooks) ?? .null, state.version)
                return TestAPIServer.Step.json(200, state.webhooks)
            default: return TestAPIServer.Step.failure(405, "MethodNotAllowed")
            }
        }
    }

    private static func versioned(_ object: JSONValue, _ version: Int) -> JSONValue {
        var members = object.members ?? []
        for index in members.indices where members[index].name == "metadata" {
            var metadata = (members[index].value.members ?? []).filter { $0.name != "resourceVersion" }
            metadata.append(.init("resourceVersion", .string("\(version)")))
            members[index].value = .object(metadata)
        }
        return .object(members)
    }
}

@Suite struct SecretStoreTests {
    private static var quiet: Logger {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }

    private static let policy = CertificatePolicy(names: ["warren-injector.warren-system.svc"])

    private static func store(_ configuration: ClusterConfiguration) throws -> SecretStore {
        SecretStore(
            try KubernetesClient(configuration), namespace: configuration.namespace, secret: "warren-injector-tls",
            configuration: "warren-injector")
    }

    @Test func `the first replica makes certificates, the second takes them`() async throws {
        let cluster = Cluster()
        try await TestAPIServer.with { _, request in
            cluster.answer(request)
        } _: { _, configuration in
            let identities = [ServingIdentity(), ServingIdentity(), ServingIdentity()]
            try await withThrowingTaskGroup(of: Void.self) { group in
                for identity in identities {
                    let keeper = CertificateKeeper(
                        store: try Self.store(configuration), policy: Self.policy, identity: identity,
                        logger: Self.quiet)
                    group.addTask { _ = try await keeper.turn() }
                }
                try await group.waitForAll()
            }
            let ends = Set(identities.map { $0.life.authority })
            #expect(ends.count == 1)
            let stored = try #require(try await Self.store(configuration).load())
            let ring = try #require(try CertificateRing(files: stored.files))
            #expect(cluster.bundles == [ring.bundle, ring.bundle, ring.bundle])
            #expect(cluster.state.withLock { $0.secret?["type"] } == "Opaque")
        }
    }

    @Test func `who is slower takes what is there and tries again`() async throws {
        let cluster = Cluster()
        try await TestAPIServer.with { _, request in
            cluster.answer(request)
        } _: { _, configuration in
            let clock = Mutex(WallTime.now())
            let keeper = CertificateKeeper(
                store: try Self.store(configuration), policy: Self.policy, identity: ServingIdentity(),
                logger: Self.quiet
            ) { clock.withLock { $0 } }
            try await keeper.turn()
            clock.withLock { $0.seconds += 250 * 86400 }
            cluster.state.withLock { $0.rivals = 3 }
            try await keeper.turn()
            let stored = try #require(try await Self.store(configuration).load())
            let ring = try #require(try CertificateRing(files: stored.files))
            #expect(ring.next != nil)
            #expect(ring.nextPublished != nil)
            #expect(cluster.bundles.allSatisfy { $0 == ring.bundle })
            // Rivals without end are an error, not a loop.
            clock.withLock { $0.seconds += 86400 }
            cluster.state.withLock { $0.rivals = .max }
            await #expect(throws: InjectorError.self) { try await keeper.turn() }
        }
    }

    @Test func `a bundle that was overwritten is put back`() async throws {
        let cluster = Cluster(webhooks: 2)
        try await TestAPIServer.with { _, request in
            cluster.answer(request)
        } _: { _, configuration in
            let keeper = CertificateKeeper(
                store: try Self.store(configuration), policy: Self.policy, identity: ServingIdentity(),
                logger: Self.quiet)
            try await keeper.turn()
            let bundle = cluster.bundles[0]
            cluster.state.withLock { state in
                var patch = JSONPatch()
                patch.add(["webhooks", "1", "clientConfig", "caBundle"], "")
                state.webhooks = patch.applied(to: state.webhooks) ?? .null
            }
            #expect(cluster.bundles[1].isEmpty)
            try await keeper.turn()
            #expect(cluster.bundles == [bundle, bundle])
        }
    }

    @Test func `what others change is heard of`() async throws {
        let cluster = Cluster()
        try await TestAPIServer.with { _, request in
            cluster.answer(request)
        } _: { server, configuration in
            let store = try Self.store(configuration)
            let heard = Journal<Bool>()
            let listening = Task { await store.changes { heard.note(true) } }
            #expect(await heard.reaches(2), "of the Secret and of the configuration")
            listening.cancel()
            await listening.value
            let selectors = Set(server.requests.compactMap { $0.query["fieldSelector"] })
            #expect(selectors == ["metadata.name=warren-injector-tls", "metadata.name=warren-injector"])
        }
    }

    @Test func `without the configuration there is one clear error`() async throws {
        let cluster = Cluster()
        try await TestAPIServer.with { _, request in
            request.path.contains("webhook") ? TestAPIServer.Step.failure(404, "NotFound") : cluster.answer(request)
        } _: { _, configuration in
            let keeper = CertificateKeeper(
                store: try Self.store(configuration), policy: Self.policy, identity: ServingIdentity(),
                logger: Self.quiet)
            do {
                try await keeper.turn()
                Issue.record("nothing was told to trust the certificate")
            } catch { #expect("\(error)".contains("MutatingWebhookConfiguration warren-injector is not there")) }
        }
    }
}
