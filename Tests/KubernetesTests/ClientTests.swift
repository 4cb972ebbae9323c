import Foundation
import JSON
import NIOHTTP1
import Testing

@testable import Kubernetes

@Suite struct KubernetesClientTests {
    private typealias Step = TestAPIServer.Step

    private static let secret: JSONValue = [
        "kind": "Secret", "apiVersion": "v1",
        "metadata": ["name": "s", "namespace": "warren-system", "resourceVersion": "41", "uid": "9b1"],
        "data": ["a": "aGVsbG8="], "type": "Opaque",
    ]
    private static let path = ResourcePath(namespace: "warren-system", "secrets", "s")

    /// A client that doesn't wait, and what it would have waited.
    private static func client(_ configuration: ClusterConfiguration) throws -> (KubernetesClient, Journal<UInt64>) {
        let pauses = Journal<UInt64>()
        return (try KubernetesClient(configuration) { pauses.note($0) }, pauses)
    }

    @Test func `gets an object, with the service account's token`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(200, Self.secret)
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            #expect(try await client.get(Self.path) == Self.secret)
            let request = try #require(server.requests.first)
            #expect(request.method == "GET")
            #expect(request.path == "/api/v1/namespaces/warren-system/secrets/s")
            #expect(request.headers["authorization"] == ["Bearer secret-token"])
            #expect(configuration.namespace == "warren-system")
        }
    }

    @Test func `a token that the kubelet renewed is used at once`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(200, Self.secret)
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            _ = try await client.get(Self.path)
            try "renewed".write(toFile: configuration.tokenFile, atomically: true, encoding: .utf8)
            _ = try await client.get(Self.path)
            #expect(server.requests.last?.headers["authorization"] == ["Bearer renewed"])
            // A token with a line break would be a header of its own.
            try "a\r\nX-Evil: 1".write(toFile: configuration.tokenFile, atomically: true, encoding: .utf8)
            await #expect(throws: KubernetesError.self) { try await client.get(Self.path) }
            #expect(server.requests.count == 2)
        }
    }

    @Test func `creates, replaces and patches`() async throws {
        try await TestAPIServer.with { _, request in
            Step.json(request.method == "POST" ? 201 : 200, Self.secret)
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            _ = try await client.create(ResourcePath(namespace: "warren-system", "secrets"), Self.secret)
            _ = try await client.replace(Self.path, Self.secret)
            _ = try await client.patch(Self.path, [["op": "add", "path": "/data/b", "value": "eA=="]])
            #expect(server.requests.map(\.method) == ["POST", "PUT", "PATCH"])
            #expect(server.requests[0].json == Self.secret)
            #expect(server.requests[2].headers["content-type"] == ["application/json-patch+json"])
            #expect(server.requests[1].headers["content-type"] == ["application/json"])
        }
    }

    @Test func `failures have their names`() async throws {
        let cases: [(Int, String, KubernetesError)] = [
            (401, "Unauthorized", .forbidden("")), (403, "Forbidden", .forbidden("")), (404, "NotFound", .notFound("")),
            (409, "Conflict", .conflict("")), (410, "Expired", .gone("")), (422, "Invalid", .status(422, "")),
            (500, "InternalError", .status(500, "")), (503, "ServiceUnavailable", .status(503, "")),
        ]
        try await TestAPIServer.with { number, _ in
            Step.failure(cases[number].0, cases[number].1)
        } _: { server, configuration in
            let (client, pauses) = try Self.client(configuration)
            for (code, reason, expected) in cases {
                do {
                    _ = try await client.get(Self.path)
                    Issue.record("\(code) is no success")
                } catch {
                    #expect("\(error)".hasPrefix("\(expected)"), "\(error)")
                    #expect("\(error)".contains("it is \(reason)"))
                }
            }
            #expect(server.requests.count == cases.count)
            #expect(pauses.entries.isEmpty)
        }
    }

    @Test func `comes later when it is told to`() async throws {
        try await TestAPIServer.with { number, _ in
            switch number {
            case 0: Step.failure(429, "TooManyRequests", ["Retry-After": "7"])
            case 1: Step.failure(503, "ServiceUnavailable", ["Retry-After": "2"])
            case 2: Step.failure(429, "TooManyRequests")
            case 3: Step.failure(429, "TooManyRequests", ["Retry-After": "86400"])
            default: Step.json(200, Self.secret)
            }
        } _: { server, configuration in
            let (client, pauses) = try Self.client(configuration)
            #expect(try await client.get(Self.path) == Self.secret)
            #expect(server.requests.count == 5)
            // As long as it says, but no longer than a minute.
            #expect(pauses.entries == [7, 2, 8, 60])
        }
    }

    @Test func `gives up on a server that always says later`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.failure(429, "TooManyRequests", ["Retry-After": "1"])
        } _: { server, configuration in
            let (client, _) = try Self.client(configuration)
            await #expect(throws: KubernetesError.self) { try await client.get(Self.path) }
            #expect(server.requests.count == 5)
        }
    }

    @Test func `an answer that breaks off is an error, and so is junk`() async throws {
        try await TestAPIServer.with { number, _ in
            number == 0
                ? [.head(200, ["Content-Length": "1000"]), .body("{\"kind\":"), .drop]
                : [.head(200, [:]), .body("<html>proxy</html>"), .end]
        } _: { _, configuration in
            let (client, _) = try Self.client(configuration)
            for _ in 0..<2 { await #expect(throws: KubernetesError.self) { try await client.get(Self.path) } }
        }
    }

    @Test func `a server of another authority is not spoken to`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(200, Self.secret)
        } _: { server, configuration in
            try await TestAPIServer.with { _, _ in
                []
            } _: { _, other in
                var wrong = configuration
                wrong.authorities = other.authorities
                let (client, _) = try Self.client(wrong)
                await #expect(throws: KubernetesError.self) { try await client.get(Self.path) }
                // Nor one that is not called as its certificate says.
                var address = configuration
                address.host = "127.0.0.1"
                let (second, _) = try Self.client(address)
                await #expect(throws: KubernetesError.self) { try await second.get(Self.path) }
                #expect(server.requests.isEmpty)
            }
        }
    }

    @Test func `outside a cluster there is one clear error`() {
        do {
            _ = try ClusterConfiguration.inCluster(folder: "/nonexistent") { _ in nil }
            Issue.record("there is no cluster")
        } catch { #expect("\(error)".contains("KUBERNETES_SERVICE_HOST")) }
        do {
            _ = try ClusterConfiguration.inCluster(folder: "/nonexistent") { _ in "1" }
            Issue.record("there is no token")
        } catch { #expect("\(error)".contains("/nonexistent/ca.crt")) }
    }
}
