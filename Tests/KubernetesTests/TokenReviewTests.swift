import Foundation
import JSON
import NIOHTTP1
import Testing

@testable import Kubernetes

/// What an API server answers to a TokenReview (authentication.k8s.io/v1), as clusters of several ages do.
enum ReviewShapes {
    static let uid = "8f7d0b9c-3a52-4c2e-9d3c-0b6e2f6f1d11"

    static func status(_ status: JSONValue) -> JSONValue {
        [
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "metadata": ["managedFields": [["manager": "warren", "operation": "Update"]]],
            "spec": ["audiences": ["warren"]], "status": status,
        ]
    }

    /// Kubernetes 1.32: node and credential id are in it.
    static func pod(
        _ name: String = "cart-0", namespace: String = "shop", account: String = "cart", uid: String = uid,
        node: String? = "node-1", audiences: JSONValue = ["warren"]
    ) -> JSONValue {
        var extra: [JSONValue.Member] = [
            .init("authentication.kubernetes.io/credential-id", ["JTI=7d1c1b60-7e3e-4a0d-8f66-6a3f2b2f8f7a"]),
            .init("authentication.kubernetes.io/pod-name", [.string(name)]),
            .init("authentication.kubernetes.io/pod-uid", [.string(uid)]),
        ]
        if let node {
            extra.append(.init("authentication.kubernetes.io/node-name", [.string(node)]))
            extra.append(.init("authentication.kubernetes.io/node-uid", ["c1b1a9fe-0a92-4ad0-9c2b-6a4d9ee1a7b0"]))
        }
        return status([
            "authenticated": true,
            "user": [
                "username": .string("system:serviceaccount:\(namespace):\(account)"),
                "uid": "5bd6a3a1-54c2-4f9f-9a65-4a3f7f0e4e54",
                "groups": [
                    "system:serviceaccounts", .string("system:serviceaccounts:\(namespace)"), "system:authenticated",
                ],
                "extra": .object(extra),
            ],
            "audiences": audiences,
        ])
    }

    static let unauthenticated = status([
        "user": [:], "error": "[invalid bearer token, service account token has expired]",
    ])

    static func podObject(
        _ name: String = "cart-0", uid: String = uid, node: String? = "node-1", account: String = "cart",
        phase: String = "Running", labels: JSONValue = ["app": "cart", "warren.dev/group": "carts"]
    ) -> JSONValue {
        var spec: [JSONValue.Member] = [
            .init("serviceAccountName", .string(account)), .init("containers", [["name": "app", "image": "i"]]),
        ]
        if let node { spec.append(.init("nodeName", .string(node))) }
        return [
            "kind": "Pod", "apiVersion": "v1",
            "metadata": [
                "name": .string(name), "namespace": "shop", "uid": .string(uid), "resourceVersion": "7",
                "labels": labels,
            ],
            "spec": .object(spec), "status": ["phase": .string(phase)],
        ]
    }
}

@Suite struct TokenReviewTests {
    private typealias Step = TestAPIServer.Step

    private static func client(_ configuration: ClusterConfiguration) throws -> (KubernetesClient, Journal<UInt64>) {
        let pauses = Journal<UInt64>()
        return (try KubernetesClient(configuration, manners: .brief) { pauses.note($0) }, pauses)
    }

    @Test func `asks for its audience, and takes pod and account from the answer only`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(201, ReviewShapes.pod())
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            let verdict = try await client.review("the.agents.token", audience: "warren")
            #expect(
                verdict
                    == .pod(
                        .init(
                            namespace: "shop", serviceAccount: "cart", pod: "cart-0", uid: ReviewShapes.uid,
                            node: "node-1")))
            let request = try #require(server.requests.first)
            #expect(request.method == "POST")
            #expect(request.path == "/apis/authentication.k8s.io/v1/tokenreviews")
            #expect(request.json["spec"] == ["token": "the.agents.token", "audiences": ["warren"]])
            // By its own token, not the one that is reviewed.
            #expect(request.headers["authorization"] == ["Bearer secret-token"])
        }
    }

    @Test(arguments: [
        (ReviewShapes.unauthenticated, "does not accept it"),
        (ReviewShapes.status(["authenticated": false]), "does not accept it"),
        (ReviewShapes.status(["authenticated": "true"]), "does not accept it"),
        (ReviewShapes.pod(audiences: ["https://kubernetes.default.svc"]), "audience"),
        (ReviewShapes.pod(audiences: []), "audience"), (ReviewShapes.pod(audiences: .null), "audience"),
        (ReviewShapes.pod(audiences: "warren"), "audience"),
        (
            ReviewShapes.status([
                "authenticated": true, "audiences": ["warren"],
                "user": ["username": "system:serviceaccount:shop:cart", "groups": []],
            ]), "bound to no pod"
        ),
        (
            ReviewShapes.status([
                "authenticated": true, "audiences": ["warren"],
                "user": [
                    "username": "system:serviceaccount:shop:cart",
                    "extra": [
                        "authentication.kubernetes.io/pod-name": ["a", "b"],
                        "authentication.kubernetes.io/pod-uid": ["u"],
                    ],
                ],
            ]), "bound to no pod"
        ),
        (
            ReviewShapes.status([
                "authenticated": true, "audiences": ["warren"], "user": ["username": "system:node:node-1"],
            ]), "not a service account's"
        ),
        (
            ReviewShapes.status([
                "authenticated": true, "audiences": ["warren"], "user": ["username": "system:serviceaccount:shop"],
            ]), "not a service account's"
        ),
        (
            ReviewShapes.status([
                "authenticated": true, "audiences": ["warren"], "user": ["username": "system:serviceaccount:a:b:c"],
            ]), "not a service account's"
        ),
    ])
    func `what is no pod's token for us is refused`(_ answer: JSONValue, _ why: String) async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(201, answer)
        } _: { _, configuration in
            let (client, _) = try Self.client(configuration)
            guard case .refused(let text) = try await client.review("a.b.c", audience: "warren") else {
                Issue.record("accepted")
                return
            }
            #expect(text.contains(why), "\(text)")
        }
    }

    @Test func `an older cluster says no node`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(201, ReviewShapes.pod(node: nil))
        } _: { _, configuration in
            let (client, _) = try Self.client(configuration)
            guard case .pod(let pod) = try await client.review("a.b.c", audience: "warren") else {
                Issue.record("refused")
                return
            }
            #expect(pod.node == nil && pod.uid == ReviewShapes.uid)
        }
    }

    @Test func `a server that fails is asked again, a few times and soon`() async throws {
        try await TestAPIServer.with { number, _ in
            switch number {
            case 0: Step.failure(500, "InternalError")
            case 1: [.head(201, ["Content-Length": "100"]), .body("{"), .drop]
            case 2: Step.json(201, ReviewShapes.pod())
            case 3: Step.failure(401, "Unauthorized")
            case 4: Step.json(201, ReviewShapes.pod())
            case 5: Step.failure(429, "TooManyRequests", ["Retry-After": "1"])
            case 6: Step.json(201, ReviewShapes.pod())
            case 7: Step.failure(429, "TooManyRequests", ["Retry-After": "30"])
            case 8, 9: Step.failure(401, "Unauthorized")
            case 10: Step.failure(403, "Forbidden")
            default: Step.failure(503, "ServiceUnavailable")
            }
        } _: { server, configuration in
            let (client, pauses) = try Self.client(configuration)
            for expected in [3, 5, 7] {
                guard case .pod = try await client.review("a.b.c", audience: "warren") else {
                    Issue.record("refused")
                    return
                }
                #expect(server.requests.count == expected)
            }
            #expect(pauses.entries == [1, 1, 1, 1])
            // Who asks for more time than an agent has gets none; and what is no passing failure is final.
            for expected in [8, 10, 11, 14] {
                await #expect(throws: KubernetesError.self) { try await client.review("a.b.c", audience: "warren") }
                #expect(server.requests.count == expected)
            }
        }
    }

    @Test func `nothing but a review or a GET is sent twice`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.failure(500, "InternalError")
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            await #expect(throws: KubernetesError.self) {
                try await client.create(ResourcePath(namespace: "n", "secrets"), ["kind": "Secret"])
            }
            #expect(server.requests.count == 1)
        }
    }

    @Test func `a server that repeats the token brings it into no log`() async throws {
        let token = "eyJhbGciOi.eyJhdWQiOlsid2FycmVuIl19.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
        try await TestAPIServer.with { _, _ in
            Step.json(422, ["kind": "Status", "message": .string("Invalid value: \"\(token)\""), "code": 422])
        } _: { _, configuration in
            let (client, _) = try Self.client(configuration)
            do {
                _ = try await client.review(token, audience: "warren")
                Issue.record("no success")
            } catch { #expect(!"\(error)".contains("c2lnbmF0")) }
        }
    }

    @Test func `reads a pod, and knows one that is not there`() async throws {
        try await TestAPIServer.with { number, _ in
            switch number {
            case 0: Step.json(200, ReviewShapes.podObject())
            case 1: Step.json(200, ReviewShapes.podObject(node: nil, phase: "Succeeded", labels: .null))
            case 2: Step.failure(404, "NotFound")
            default: Step.json(200, ["kind": "Pod", "metadata": ["name": "cart-0"]])
            }
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            let pod = try #require(try await client.pod("cart-0", in: "shop"))
            #expect(server.requests[0].path == "/api/v1/namespaces/shop/pods/cart-0")
            #expect(pod.uid == ReviewShapes.uid && pod.node == "node-1" && !pod.hasEnded)
            #expect(pod.labels["warren.dev/group"] == "carts" && pod.serviceAccount == "cart")
            let ended = try #require(try await client.pod("cart-0", in: "shop"))
            #expect(ended.node == nil && ended.hasEnded && ended.labels.isEmpty)
            #expect(try await client.pod("cart-0", in: "shop") == nil)
            await #expect(throws: KubernetesError.self) { try await client.pod("cart-0", in: "shop") }
        }
    }

    // MARK: - Objects that are made once

    @Test func `a Secret is made once, and who comes second has the first one's`() async throws {
        let theirs: JSONValue = [
            "kind": "Secret", "metadata": ["name": "k", "resourceVersion": "1"], "data": ["a": "dGhlaXJz"],
        ]
        try await TestAPIServer.with { number, request in
            switch (number, request.method) {
            case (0, "GET"), (2, "GET"): Step.failure(404, "NotFound")
            case (1, "POST"): Step.json(201, request.json)
            case (3, "POST"): Step.failure(409, "AlreadyExists")
            default: Step.json(200, theirs)
            }
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            let made = try await client.keepSecret("k", in: "n") { ["a": Array("ours".utf8)] }
            #expect(made.isNew && made.data == ["a": Array("ours".utf8)])
            #expect(server.requests[1].json["data"]?["a"] == "b3Vycw==")
            #expect(server.requests[1].json["type"] == "Opaque")
            let second = try await client.keepSecret("k", in: "n") { ["a": Array("ours".utf8)] }
            #expect(!second.isNew && second.data == ["a": Array("theirs".utf8)])
            // A third time nothing is made at all.
            let third = try await client.keepSecret("k", in: "n") { [:] }
            #expect(!third.isNew && third.data == second.data)
            #expect(server.requests.map(\.method) == ["GET", "POST", "GET", "POST", "GET", "GET"])
        }
    }

    @Test func `a ConfigMap is written when it says something else, and only then`() async throws {
        let other: JSONValue = [
            "kind": "ConfigMap", "metadata": ["name": "c", "resourceVersion": "9"], "data": ["x": "y", "hub": "old"],
        ]
        try await TestAPIServer.with { number, request in
            switch number {
            case 0: Step.failure(404, "NotFound")
            case 1: Step.json(201, request.json)
            case 2: Step.json(200, ["kind": "ConfigMap", "metadata": [:], "data": ["hub": "text"]])
            case 3, 5: Step.json(200, other)
            case 4: Step.failure(409, "Conflict")
            default: Step.json(200, request.json)
            }
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            #expect(try await client.keepConfigMap("c", in: "n", key: "hub", "text"))
            #expect(try await !client.keepConfigMap("c", in: "n", key: "hub", "text"))
            #expect(try await client.keepConfigMap("c", in: "n", key: "hub", "text"))
            #expect(server.requests.map(\.method) == ["GET", "POST", "GET", "GET", "PUT", "GET", "PUT"])
            let written = try #require(server.requests.last?.json)
            #expect(written["metadata"]?["resourceVersion"] == "9")
            #expect(written["data"] == ["x": "y", "hub": "text"])
        }
    }
}
