import Addressing
import Hub
import JSON
import Logging
import Membership
import NIOHTTP1
import Sodium
import Testing
import Timing

@testable import Kubernetes

/// The hub's side of it: what it makes of an API server's answers, over TLS.
@Suite(.timeLimit(.minutes(2))) struct ClusterReviewerTests {
    private typealias Step = TestAPIServer.Step

    /// A token as it looks; its signature is nobody's, as only the API server could tell.
    static func token(audience: String = "warren", lifetime: Int64 = 3600) -> [UInt8] {
        let end = WallTime.now().seconds + lifetime
        let claims = """
            {"aud":["\(audience)"],"exp":\(end),"iat":\(end - 3600),"iss":"https://kubernetes.default.svc.cluster.local",\
            "kubernetes.io":{"namespace":"shop","node":{"name":"node-1","uid":"n"},"pod":{"name":"cart-0","uid":"u"},\
            "serviceaccount":{"name":"cart","uid":"s"}},"nbf":\(end - 3600),"sub":"system:serviceaccount:shop:cart"}
            """
        return Array("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.\(Base64.encodeURL(Array(claims.utf8))).c2lnbmF0dXJl".utf8)
    }

    private static func reviewer(_ configuration: ClusterConfiguration, logger: Logger? = nil) throws -> ClusterReviewer
    {
        try Libsodium.initialize()
        var quiet = Logger(label: "test")
        quiet.logLevel = .critical
        return try ClusterReviewer(cluster: "eu-1", audience: "warren", logger: logger ?? quiet) {
            () throws(KubernetesError) in
            try KubernetesClient(configuration, manners: .brief) { _ in }
        }
    }

    private static func refusal(_ reviewer: ClusterReviewer, _ token: [UInt8] = token()) async -> ReviewError? {
        do throws(ReviewError) {
            _ = try await reviewer.review(token)
            return nil
        } catch { return error }
    }

    private static func isWrongAccount(_ error: ReviewError?, _ why: String) -> Bool {
        guard case .refused(.wrongAccount(let text)) = error else { return false }
        return text.contains(why)
    }

    private static func isLater(_ error: ReviewError?) -> Bool {
        guard case .later = error else { return false }
        return true
    }

    @Test func `name, node and groups are the cluster's word`() async throws {
        try await TestAPIServer.with { _, request in
            request.method == "POST"
                ? Step.json(201, ReviewShapes.pod()) : Step.json(200, ReviewShapes.podObject())
        } _: { server, configuration in
            let reviewed = try await Self.reviewer(configuration).review(Self.token())
            #expect(reviewed.pod.identity.subject(mesh: "m") == "spiffe://m/cluster/eu-1/ns/shop/sa/cart/pod/cart-0")
            #expect(reviewed.pod.uid == ReviewShapes.uid && reviewed.pod.node == "node-1")
            #expect(reviewed.groups == ["carts.shop"])
            #expect(server.requests.map(\.path).last == "/api/v1/namespaces/shop/pods/cart-0")
        }
    }

    @Test func `an older cluster's node is that of the pod`() async throws {
        try await TestAPIServer.with { _, request in
            request.method == "POST"
                ? Step.json(201, ReviewShapes.pod(node: nil))
                : Step.json(200, ReviewShapes.podObject(node: "node-7", labels: ["warren.dev/group": "A,B"]))
        } _: { _, configuration in
            let reviewed = try await Self.reviewer(configuration).review(Self.token())
            #expect(reviewed.pod.node == "node-7")
            #expect(reviewed.groups.isEmpty, "a label that names none keeps nobody out")
        }
    }

    @Test func `a token that has outlived its pod, or does not fit it, is refused`() async throws {
        let pods: [(Int, [Step])] = [
            (0, Step.failure(404, "NotFound")), (1, Step.json(200, ReviewShapes.podObject(uid: "another"))),
            (2, Step.json(200, ReviewShapes.podObject(phase: "Failed"))),
            (3, Step.json(200, ReviewShapes.podObject(account: "default"))),
            (4, Step.json(200, ReviewShapes.podObject(node: "node-2"))),
            (5, Step.json(200, ReviewShapes.podObject(node: nil))),
        ]
        try await TestAPIServer.with { number, request in
            request.method == "POST" ? Step.json(201, ReviewShapes.pod()) : pods[number / 2].1
        } _: { _, configuration in
            let reviewer = try Self.reviewer(configuration)
            let reasons = ["gone", "gone", "ended", "another service account", "same node", "no node"]
            for why in reasons {
                let error = await Self.refusal(reviewer)
                #expect(Self.isWrongAccount(error, why), "\(why): \(String(describing: error))")
            }
        }
    }

    @Test func `junk, foreign audiences and what has expired never reach the API server`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(201, ReviewShapes.pod())
        } _: { server, configuration in
            let reviewer = try Self.reviewer(configuration)
            for token in [
                Self.token(audience: "https://kubernetes.default.svc"), Self.token(lifetime: -120), Array("x".utf8), [],
            ] {
                guard case .refused(.wrongAccount) = await Self.refusal(reviewer, token) else {
                    Issue.record("accepted")
                    return
                }
            }
            #expect(server.requests.isEmpty)
        }
    }

    @Test func `a refused token is not asked about twice, an accepted one is`() async throws {
        let good = Journal<Bool>()
        try await TestAPIServer.with { _, request in
            if request.method == "GET" { return Step.json(200, ReviewShapes.podObject()) }
            return Step.json(201, !good.entries.isEmpty ? ReviewShapes.pod() : ReviewShapes.unauthenticated)
        } _: { server, configuration in
            let reviewer = try Self.reviewer(configuration)
            let forged = Self.token(lifetime: 1000)
            for _ in 0..<5 { #expect(Self.isWrongAccount(await Self.refusal(reviewer, forged), "does not accept")) }
            #expect(server.requests.count == 1)
            good.note(true)
            for _ in 0..<2 { #expect(await Self.refusal(reviewer) == nil) }
            #expect(server.requests.count == 5)
        }
    }

    @Test func `while the API server fails nobody comes in, and nothing of the token is logged`() async throws {
        let lines = Journal<String>()
        var logger = Logger(label: "test") { _ in JournalHandler(journal: lines) }
        logger.logLevel = .trace
        let token = Self.token()
        try await TestAPIServer.with { number, _ in
            switch number {
            case 0..<3: Step.failure(500, "InternalError")
            case 3..<6: [.drop]
            case 6: Step.failure(403, "Forbidden")
            case 7: Step.failure(429, "TooManyRequests", ["Retry-After": "60"])
            case 8, 9: Step.failure(401, "Unauthorized")
            case 10: [.head(201, [:]), .body("<html>"), .end]
            case 11..<14: Step.failure(500, String(decoding: token, as: UTF8.self))
            case 14: Step.json(201, ReviewShapes.pod())
            default: Step.failure(500, "InternalError")
            }
        } _: { _, configuration in
            let reviewer = try Self.reviewer(configuration, logger: logger)
            for round in 0..<8 {
                let error = await Self.refusal(reviewer, token)
                #expect(Self.isLater(error), "round \(round): \(String(describing: error))")
            }
        }
        #expect(!lines.entries.isEmpty)
        let secret = String(decoding: token, as: UTF8.self).split(separator: ".").map(String.init)
        for line in lines.entries {
            #expect(!line.contains(secret[1]) && !line.contains("secret-token"), "\(line)")
        }
    }

    @Test func `a server that is not there is no answer`() async throws {
        try await TestAPIServer.with { _, _ in
            Step.json(201, ReviewShapes.pod())
        } _: { server, configuration in
            var nowhere = configuration
            nowhere.port = 1
            var reviewer = try Self.reviewer(nowhere)
            #expect(Self.isLater(await Self.refusal(reviewer)))
            // Nor is one whose token is not there.
            nowhere = configuration
            nowhere.tokenFile = "/nonexistent"
            reviewer = try Self.reviewer(nowhere)
            #expect(Self.isLater(await Self.refusal(reviewer)))
            #expect(server.requests.isEmpty)
        }
    }

    @Test func `knows which pods are gone`() async throws {
        let identity = PodIdentity(cluster: "eu-1", namespace: "shop", serviceAccount: "cart", pod: "cart-0")!
        let held = LeasedPod(identity: identity, uid: ReviewShapes.uid, node: "node-1")
        try await TestAPIServer.with { number, _ in
            switch number {
            case 0: Step.json(200, ReviewShapes.podObject())
            case 1: Step.json(200, ReviewShapes.podObject(uid: "another"))
            case 2: Step.json(200, ReviewShapes.podObject(phase: "Succeeded"))
            case 3: Step.failure(404, "NotFound")
            default: Step.failure(403, "Forbidden")
            }
        } _: { server, configuration in
            let reviewer = try Self.reviewer(configuration)
            for expected in [false, true, true, true] { #expect(try await reviewer.isGone(held) == expected) }
            await #expect(throws: ReviewError.self) { try await reviewer.isGone(held) }
            // Of another cluster nothing can be said here.
            let far = LeasedPod(
                identity: PodIdentity(cluster: "us-1", namespace: "shop", serviceAccount: "cart", pod: "cart-0")!,
                uid: "u", node: "n")
            #expect(try await !reviewer.isGone(far))
            #expect(server.requests.count == 5)
        }
    }
}

private struct JournalHandler: LogHandler {
    let journal: Journal<String>
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(journal: Journal<String>) { self.journal = journal }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { journal.note("\(event.message)") }
}
