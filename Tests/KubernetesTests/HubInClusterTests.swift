import Foundation
import JSON
import Synchronization
import Testing

@testable import Kubernetes

/// `warren-hub init --in-cluster` and what serves from it, as they are run: the built program, beside the test bundle.
@Suite(.timeLimit(.minutes(2))) struct HubInClusterTests {
    private typealias Step = TestAPIServer.Step

    /// Objects that can be made, read and replaced, as an API server keeps them.
    private final class Objects: Sendable {
        let kept = Mutex<[String: JSONValue]>([:])
        let writes = Mutex<[String]>([])

        func answer(_ request: TestAPIServer.Request) -> [Step] {
            kept.withLock { objects in
                switch request.method {
                case "GET": return objects[request.path].map { Step.json(200, $0) } ?? Step.failure(404, "NotFound")
                case "POST":
                    guard let name = request.json["metadata"]?["name"]?.text else {
                        return Step.failure(422, "Invalid")
                    }
                    let path = "\(request.path)/\(name)"
                    guard objects[path] == nil else { return Step.failure(409, "AlreadyExists") }
                    writes.withLock { $0.append(path) }
                    objects[path] = request.json
                    return Step.json(201, request.json)
                default: return Step.failure(405, "MethodNotAllowed")
                }
            }
        }
    }

    private static func run(
        _ arguments: [String], _ configuration: ClusterConfiguration
    ) async throws -> (status: Int32, out: String, error: String) {
        let bundle = try #require(CommandLine.arguments.first { $0.contains(".xctest") })
        let end = try #require(bundle.range(of: ".xctest")).upperBound
        let process = Process()
        process.executableURL = URL(fileURLWithPath: String(bundle[..<end])).deletingLastPathComponent()
            .appendingPathComponent("warren-hub")
        process.arguments = arguments
        process.environment = [
            "KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": "\(configuration.port)",
        ]
        let (out, error) = (Pipe(), Pipe())
        (process.standardOutput, process.standardError) = (out, error)
        await withCheckedContinuation { continuation in
            process.terminationHandler = { _ in continuation.resume() }
            do { try process.run() } catch {
                Issue.record("\(error)")
                continuation.resume()
            }
        }
        return (
            process.terminationStatus,
            String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self),
            String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        )
    }

    private static func folder(of configuration: ClusterConfiguration) -> String {
        String(configuration.tokenFile.dropLast("/token".count))
    }

    private static func initialise(_ configuration: ClusterConfiguration) async throws -> (Int32, String, String) {
        try await run(
            [
                "init", "--in-cluster", "--mesh", "demo", "--ipv4-range", "10.9.0.0/16", "--address",
                "warren-hub.warren-system.svc:443", "--service-account-dir", folder(of: configuration),
            ], configuration)
    }

    @Test func `keys are made once, in the cluster, and a hub serves from them mounted`() async throws {
        let objects = Objects()
        try await TestAPIServer.with { _, request in
            objects.answer(request)
        } _: { server, configuration in
            let first = try await Self.initialise(configuration)
            #expect(first.0 == 0, "\(first.2)")
            let secretPath = "/api/v1/namespaces/warren-system/secrets/warren-hub-keys"
            let mapPath = "/api/v1/namespaces/warren-system/configmaps/warren-hub"
            #expect(objects.writes.withLock { $0 } == [secretPath, mapPath])
            let kept = objects.kept.withLock { $0 }
            let text = try #require(kept[mapPath]?["data"]?["hub"]?.text)
            #expect(text.hasPrefix("warrenhub1.") && first.1.contains(text))
            let data = try #require(kept[secretPath]?["data"]?.members)
            #expect(Set(data.map(\.name)) == ["authority.key", "relay.key", "tls.key", "tls.crt", "hub.json"])
            for member in data where member.name.hasSuffix(".key") {
                let content = try #require(member.value.text.flatMap { Data(base64Encoded: $0) })
                let line = String(decoding: content, as: UTF8.self).split(separator: "\n").max { $0.count < $1.count }
                #expect(!first.1.contains(try #require(line)), "no key is printed")
            }

            let second = try await Self.initialise(configuration)
            #expect(second.0 == 0 && second.1.contains(text), "\(second.2)")
            #expect(objects.kept.withLock { $0 } == kept, "a second run changes nothing")

            // As the kubelet mounts it: links into a folder that is exchanged as a whole, readable for the group.
            let folder = Self.folder(of: configuration)
            let (keys, store) = ("\(folder)/keys", "\(folder)/hub")
            let files = FileManager.default
            for path in ["\(keys)/..2026", store] {
                try files.createDirectory(atPath: path, withIntermediateDirectories: true)
            }
            try files.createSymbolicLink(atPath: "\(keys)/..data", withDestinationPath: "..2026")
            for member in data {
                let content = try #require(member.value.text.flatMap { Data(base64Encoded: $0) })
                try content.write(to: URL(fileURLWithPath: "\(keys)/..2026/\(member.name)"))
                try files.setAttributes([.posixPermissions: 0o440], ofItemAtPath: "\(keys)/..2026/\(member.name)")
                try files.createSymbolicLink(
                    atPath: "\(keys)/\(member.name)", withDestinationPath: "..data/\(member.name)")
            }
            let advertised = try await Self.run(
                ["advertise", "--public", "--dir", store, "--keys", keys], configuration)
            #expect(advertised.out == text + "\n", "\(advertised.error)")
            let token = try await Self.run(["token", "create", "--dir", store, "--keys", keys], configuration)
            #expect(token.status == 0 && token.out.hasPrefix("warren1."), "\(token.error)")
            #expect(try files.contentsOfDirectory(atPath: store).contains("hub.sqlite"))
            let change = try await Self.run(
                ["advertise", "--stun", "192.0.2.1:3478", "--dir", store, "--keys", keys], configuration)
            #expect(change.status == 1 && change.error.contains("mounted"), "\(change.error)")
            // A key that everybody may read is none.
            try files.setAttributes([.posixPermissions: 0o444], ofItemAtPath: "\(keys)/..2026/authority.key")
            let exposed = try await Self.run(
                [
                    "serve", "--dir", store, "--keys", keys, "--listen", "127.0.0.1:0", "--relay-listen",
                    "127.0.0.1:0",
                ], configuration)
            #expect(exposed.status == 1 && exposed.error.contains("authority.key has mode 444"), "\(exposed.error)")
        }
    }

    @Test func `who makes keys at the same moment has the other's`() async throws {
        let objects = Objects()
        try await TestAPIServer.with { number, request in
            // Both have looked, and found nothing.
            number < 2 && request.method == "GET" ? Step.failure(404, "NotFound") : objects.answer(request)
        } _: { _, configuration in
            async let one = Self.initialise(configuration)
            async let two = Self.initialise(configuration)
            let results = try await [one, two]
            #expect(results.allSatisfy { $0.0 == 0 }, "\(results)")
            let texts = Set(results.flatMap { $0.1.split(separator: "\n").filter { $0.hasPrefix("warrenhub1.") } })
            #expect(texts.count == 1)
        }
    }

    @Test func `outside of a cluster, or without the right to, it is one clear error`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.failure(403, "Forbidden")
        } _: { _, configuration in
            let refused = try await Self.initialise(configuration)
            #expect(refused.0 == 1 && refused.2.contains("not allowed") && refused.1.isEmpty, "\(refused)")
            let outside = try await Self.run(
                [
                    "init", "--in-cluster", "--mesh", "demo", "--address", "h:1", "--service-account-dir",
                    "/nonexistent",
                ],
                configuration)
            #expect(outside.status == 1 && outside.error.contains("/nonexistent"), "\(outside.error)")
        }
    }
}
