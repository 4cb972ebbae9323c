import Foundation
import Injection
import JSON
import Logging
import Manifest
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import Testing
import Timing

@testable import Injector

@Suite(.serialized) struct InjectorServerTests {
    private static var quiet: Logger {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }

    private static let policy = CertificatePolicy(names: [ReviewCaller.name])

    private static func review(_ pod: JSONValue, uid: String = "u1") -> [UInt8] {
        let review: JSONValue = [
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": [
                "uid": .string(uid), "resource": ["group": "", "version": "v1", "resource": "pods"],
                "namespace": "shop", "operation": "CREATE", "object": pod,
            ],
        ]
        return review.serialized
    }

    private static let pod: JSONValue = [
        "kind": "Pod", "apiVersion": "v1",
        "metadata": ["name": "web", "labels": ["warren.dev/inject": "enabled"]],
        "spec": ["containers": [["name": "web", "image": "nginx"]]],
    ]

    /// A server on ports that the kernel chose, with certificates in a folder of its own.
    private static func serving(
        drain: UInt64 = 0,
        _ body: (InjectorServer, CertificateKeeper, _ folder: String, _ clock: Clock, Task<Void, Never>) async throws ->
            Void
    ) async throws {
        try await Scratch.folder { folder in
            let clock = Clock()
            let identity = ServingIdentity()
            var options = InjectorServer.Options()
            (options.host, options.port, options.healthPort, options.drain) = ("127.0.0.1", 0, 0, drain)
            let server = InjectorServer(
                Admission(SidecarInjection(InjectionSettings(image: "warren:test"))), identity: identity,
                options: options, logger: quiet, now: { clock.now })
            let keeper = CertificateKeeper(
                store: FolderStore(folder), policy: policy, identity: identity, logger: quiet
            ) { clock.now }
            try await server.start()
            let running = Task { await server.run() }
            do { try await body(server, keeper, folder, clock, running) } catch {
                running.cancel()
                throw error
            }
            running.cancel()
            await running.value
        }
    }

    /// The time of the certificates, behind the real one by what the test wants.
    final class Clock: Sendable {
        private let behind = Mutex<Int64>(0)
        var now: WallTime {
            let real = WallTime.now()
            return WallTime(seconds: real.seconds - behind.withLock { $0 })
        }
        func set(behind seconds: Int64) { behind.withLock { $0 = seconds } }
    }

    /// `#expect` with a call in it would hide that the closure around it throws.
    private static func expect<Value: Equatable>(
        _ value: Value, _ expected: Value, _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation
    ) {
        #expect(value == expected, comment, sourceLocation: location)
    }

    private static func bundle(_ folder: String) throws -> String {
        try String(contentsOfFile: "\(folder)/ca.crt", encoding: .utf8)
    }

    @Test(arguments: [TLSVersion.tlsv12, .tlsv13])
    func `answers reviews over TLS, many on one connection`(_ version: TLSVersion) async throws {
        try await Self.serving { server, keeper, folder, _, _ in
            try await keeper.turn()
            try await ReviewCaller.with(port: server.port, bundle: try Self.bundle(folder), version: version) { call in
                for number in 0..<20 {
                    let answer = try await call(.POST, "/inject?timeout=5s", Self.review(Self.pod, uid: "u\(number)"))
                    #expect(answer.status == 200)
                    #expect(!answer.isLast)
                    let response = try JSONValue(parsing: answer.body)["response"]
                    #expect(response?["uid"] == .string("u\(number)"))
                    #expect(response?["allowed"] == true)
                    #expect(response?["patchType"] == "JSONPatch")
                }
                // Without the label, the path decides.
                let plain: JSONValue = ["metadata": ["name": "x"], "spec": ["containers": [["name": "x"]]]]
                let alone = try await call(.POST, "/inject", Self.review(plain))
                #expect(try JSONValue(parsing: alone.body)["response"]?["patch"] == nil)
                let asked = try await call(.POST, "/inject/namespace", Self.review(plain))
                #expect(try JSONValue(parsing: asked.body)["response"]?["patch"] != nil)
            }
            #expect(server.metrics.reviews(.injected) == 21)
            #expect(server.metrics.reviews(.untouched) == 1)
        }
    }

    @Test func `what is no review gets the status that says so`() async throws {
        try await Self.serving { server, keeper, folder, _, _ in
            try await keeper.turn()
            let bundle = try Self.bundle(folder)
            let cases: [(HTTPMethod, String, [UInt8], Int)] = [
                (.GET, "/inject", [], 405), (.POST, "/", Array("{}".utf8), 404), (.POST, "/inject", [], 415),
                (.POST, "/inject", Array("{}".utf8), 400), (.POST, "/inject", Array("junk".utf8), 400),
                (.GET, "/healthz", [], 404),
            ]
            try await ReviewCaller.with(port: server.port, bundle: bundle) { call in
                for (method, uri, body, status) in cases {
                    try Self.expect(await call(method, uri, body).status, status, "\(method) \(uri)")
                }
            }
            try await ReviewCaller.with(port: server.port, bundle: bundle) { call in
                let answer = try? await call(.POST, "/inject", [UInt8](repeating: 0x20, count: (8 << 20) + 1))
                #expect(answer == nil || answer?.status == 413)
            }
            // The server is none the worse.
            try await ReviewCaller.with(port: server.port, bundle: bundle) { call in
                try Self.expect(await call(.POST, "/inject", Self.review(Self.pod)).status, 200)
            }
        }
    }

    @Test func `health, readiness and metrics are on the plain port`() async throws {
        try await Self.serving { server, keeper, folder, clock, _ in
            try await ReviewCaller.with(port: server.healthPort, bundle: nil) { call in
                try Self.expect(await call(.GET, "/healthz", []).status, 200)
                try Self.expect(await call(.GET, "/readyz", []).status, 503, "no certificate yet")
                try await keeper.turn()
                try Self.expect(await call(.GET, "/readyz", []).status, 200)
                try Self.expect(await call(.POST, "/inject", Self.review(Self.pod)).status, 404, "never without TLS")
            }
            try await ReviewCaller.with(port: server.port, bundle: try Self.bundle(folder)) { call in
                for _ in 0..<3 { _ = try await call(.POST, "/inject", Self.review(Self.pod)) }
                _ = try await call(.POST, "/inject", Array("junk".utf8))
            }
            try await ReviewCaller.with(port: server.healthPort, bundle: nil) { call in
                let text = String(decoding: try await call(.GET, "/metrics", []).body, as: UTF8.self)
                #expect(text.contains("warren_injector_reviews_total{outcome=\"injected\"} 3\n"))
                #expect(text.contains("warren_injector_reviews_total{outcome=\"malformed\"} 1\n"))
                #expect(text.contains("warren_injector_review_seconds_count 4\n"))
                #expect(text.contains("warren_injector_review_seconds_bucket{le=\"+Inf\"} 4\n"))
                let end = try #require(server.identity.life.leaf)
                #expect(
                    text.contains(
                        "warren_injector_certificate_expiry_timestamp_seconds{certificate=\"leaf\"} \(end.seconds)\n"))
                // A certificate that ended is not ready.
                clock.set(behind: -40 * 86400)
                try Self.expect(await call(.GET, "/readyz", []).status, 503)
            }
        }
    }

    @Test func `before there is a certificate, and for another name, there is no connection`() async throws {
        try await Self.serving { server, keeper, folder, _, _ in
            let any = try CertificateIssuer.authority(life: 3600, now: .now()).certificate
            await #expect(throws: (any Error).self) {
                try await ReviewCaller.with(port: server.port, bundle: any) { call in
                    _ = try await call(.POST, "/inject", Self.review(Self.pod))
                }
            }
            try await keeper.turn()
            let bundle = try Self.bundle(folder)
            for (bundle, name) in [(any, ReviewCaller.name), (bundle, "other.warren-system.svc")] {
                await #expect(throws: (any Error).self) {
                    try await ReviewCaller.with(port: server.port, bundle: bundle, name: name) { call in
                        _ = try await call(.POST, "/inject", Self.review(Self.pod))
                    }
                }
            }
        }
    }

    @Test func `certificates turn under load, and not one review fails`() async throws {
        let day: Int64 = 86400
        // A leaf for 20 days and an authority for 25: in 19 days both turn, and all of them are valid at the real time.
        var policy = Self.policy
        (policy.leafLife, policy.authorityLife, policy.overlap) = (20 * day, 25 * day, 43_200)
        try await Self.serving { server, _, folder, clock, _ in
            let keeper = CertificateKeeper(
                store: FolderStore(folder), policy: policy, identity: server.identity, logger: Self.quiet
            ) { clock.now }
            clock.set(behind: 19 * day)
            try await keeper.turn()
            // An API server reads the bundle late: it has the one of half a day before.
            let known = Shared([try Self.bundle(folder)])
            let isOver = Shared(false)
            let reviews = Shared(0)
            let connections = Shared(0)
            let first = try #require(try CertificateRing(files: FolderStore(folder).load()?.files ?? [:]))
            let failures = try await withThrowingTaskGroup(of: [String].self) { group in
                for caller in 0..<4 {
                    group.addTask {
                        var failures: [String] = []
                        while !isOver.withLock({ $0 }) {
                            do {
                                // Alternately the oldest and the newest that may be known.
                                let bundle = known.withLock { caller % 2 == 0 ? $0.first : $0.last } ?? ""
                                try await ReviewCaller.with(port: server.port, bundle: bundle) { call in
                                    connections.withLock { $0 += 1 }
                                    for _ in 0..<25 {
                                        let answer = try await call(.POST, "/inject", Self.review(Self.pod))
                                        let value = try JSONValue(parsing: answer.body)
                                        if answer.status != 200 || value["response"]?["patch"] == nil {
                                            failures.append("\(answer.status)")
                                        }
                                        reviews.withLock { $0 += 1 }
                                    }
                                }
                            } catch { failures.append("\(error)") }
                        }
                        return failures
                    }
                }
                let step: Int64 = 10_800
                for behind in stride(from: 19 * day, through: 0, by: -Int(step)) {
                    clock.set(behind: behind)
                    try await keeper.turn()
                    let bundle = try Self.bundle(folder)
                    known.withLock { known in
                        known.append(bundle)
                        if known.count > Int(policy.overlap / step) { known.removeFirst() }
                    }
                    try await Task.sleep(nanoseconds: 15_000_000)
                }
                isOver.withLock { $0 = true }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(failures == [], "of \(reviews.withLock { $0 })")
            let last = try #require(try CertificateRing(files: FolderStore(folder).load()?.files ?? [:]))
            #expect(last.authority != first.authority)
            #expect(last.retired == [first.authority.certificate])
            #expect(server.identity.life.changes >= 2)
            #expect(reviews.withLock { $0 } >= 500)
            print(
                "rotation: \(failures.count) of \(reviews.withLock { $0 }) reviews failed, on",
                "\(connections.withLock { $0 }) connections, through \(server.identity.life.changes) changes of the leaf"
            )
        }
    }

    @Test func `a connection that is open outlives the leaf that it began with`() async throws {
        try await Self.serving { server, keeper, folder, clock, _ in
            clock.set(behind: 25 * 86400)
            try await keeper.turn()
            try await ReviewCaller.with(port: server.port, bundle: try Self.bundle(folder)) { call in
                try Self.expect(await call(.POST, "/inject", Self.review(Self.pod)).status, 200)
                clock.set(behind: 0)
                try await keeper.turn()
                #expect(server.identity.life.changes == 1)
                try Self.expect(await call(.POST, "/inject", Self.review(Self.pod)).status, 200)
            }
        }
    }

    @Test func `certificates that others make are read again when they change`() async throws {
        try await Scratch.folder { folder in
            let now = WallTime.now()
            let authority = try CertificateIssuer.authority(life: 3600, now: now)
            let identity = ServingIdentity()
            let given = GivenCertificate(folder)
            #expect(throws: InjectorError.self) { try given.load() }
            for _ in 0..<2 {
                let leaf = try CertificateIssuer.leaf([ReviewCaller.name], by: authority, life: 600, now: now)
                try leaf.certificate.write(toFile: "\(folder)/tls.crt", atomically: true, encoding: .utf8)
                try leaf.key.write(toFile: "\(folder)/tls.key", atomically: true, encoding: .utf8)
                try identity.show(given.load(), authorityEnd: nil)
            }
            #expect(identity.life.changes == 1)
            // A key that is not the certificate's is refused, and what was shown stays.
            let other = try CertificateIssuer.leaf([ReviewCaller.name], by: authority, life: 600, now: now)
            try other.key.write(toFile: "\(folder)/tls.key", atomically: true, encoding: .utf8)
            #expect(throws: InjectorError.self) { try identity.show(given.load(), authorityEnd: nil) }
            #expect(identity.isValid(at: now))
        }
    }

    @Test func `told to end, it answers to the last and then closes`() async throws {
        try await Self.serving(drain: 1) { server, keeper, folder, _, running in
            try await keeper.turn()
            let bundle = try Self.bundle(folder)
            try await ReviewCaller.with(port: server.port, bundle: bundle) { call in
                try Self.expect(await call(.POST, "/inject", Self.review(Self.pod)).isLast, false)
                running.cancel()
                try await Task.sleep(nanoseconds: 200_000_000)
                // Still served, and told to go elsewhere.
                let answer = try await call(.POST, "/inject", Self.review(Self.pod))
                #expect(answer.status == 200)
                #expect(answer.isLast)
            }
            try await ReviewCaller.with(port: server.healthPort, bundle: nil) { call in
                try Self.expect(await call(.GET, "/readyz", []).status, 503)
            }
            await running.value
            await #expect(throws: (any Error).self) {
                try await ReviewCaller.with(port: server.port, bundle: bundle) { _ in }
            }
        }
    }

    @Test func `99 of 100 reviews of forty kinds of pod take less than 20 ms`() async throws {
        try await Self.serving { server, keeper, folder, _, _ in
            try await keeper.turn()
            // Those of the table in InjectionTests, as pods that ask.
            let shapes = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .appendingPathComponent("../InjectionTests/Shapes")
            let names = try FileManager.default.contentsOfDirectory(atPath: shapes.path).filter {
                $0.first?.isNumber == true
            }
            #expect(names.count >= 40)
            let bodies = try names.map { name in
                let documents = try ManifestStream.read(Array(Data(contentsOf: shapes.appendingPathComponent(name))))
                return Self.review(try #require(documents.last))
            }
            let times = try await ReviewCaller.with(port: server.port, bundle: try Self.bundle(folder)) { call in
                var times: [Duration] = []
                for _ in 0..<25 {
                    for body in bodies {
                        let start = ContinuousClock.now
                        let answer = try await call(.POST, "/inject/namespace", body)
                        times.append(ContinuousClock.now - start)
                        #expect(answer.status == 200)
                    }
                }
                return times.sorted()
            }
            let p99 = times[times.count * 99 / 100]
            print(
                "reviews: \(times.count), median \(times[times.count / 2]), p99 \(p99), worst \(times[times.count - 1])"
            )
            #expect(p99 < .milliseconds(20))
        }
    }
}

/// A value that tasks share.
private final class Shared<Value: Sendable>: Sendable {
    private let state: Mutex<Value>

    init(_ value: Value) { state = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        state.withLock { state in
            var value = state
            let result = body(&value)
            state = value
            return result
        }
    }
}
