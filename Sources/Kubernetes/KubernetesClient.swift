package import JSON
import NIOCore
import NIOHTTP1

/// The few calls of the Kubernetes API that are needed. Each reads the token's file anew; those that are told to come
/// later (429, and 503 with Retry-After) do so, a few times.
package struct KubernetesClient: Sendable {
    /// The API server's own limit is 3 MiB an object; lists come in pages.
    static let answerLimit = 64 << 20
    private static let tryLimit = 5
    /// The longest that a server is believed when it says how long to wait, in seconds.
    private static let patience: UInt64 = 60

    package let configuration: ClusterConfiguration
    let exchange: HTTPExchange
    let sleep: @Sendable (_ seconds: UInt64) async throws -> Void

    package init(
        _ configuration: ClusterConfiguration,
        sleep: @escaping @Sendable (UInt64) async throws -> Void = {
            try await Task.sleep(nanoseconds: $0 * 1_000_000_000)
        }
    ) throws(KubernetesError) {
        self.configuration = configuration
        self.sleep = sleep
        exchange = try HTTPExchange(configuration)
    }

    package func get(_ path: ResourcePath) async throws(KubernetesError) -> JSONValue {
        try await call(.GET, path.description)
    }

    /// - Throws: `.conflict` when there is an object of that name.
    package func create(_ path: ResourcePath, _ object: JSONValue) async throws(KubernetesError) -> JSONValue {
        try await call(.POST, path.description, body: object.serialized)
    }

    /// - Throws: `.conflict` unless the object's resourceVersion is the present one.
    package func replace(_ path: ResourcePath, _ object: JSONValue) async throws(KubernetesError) -> JSONValue {
        try await call(.PUT, path.description, body: object.serialized)
    }

    /// - Parameter operations: a JSON Patch (RFC 6902).
    package func patch(_ path: ResourcePath, _ operations: JSONValue) async throws(KubernetesError) -> JSONValue {
        try await call(
            .PATCH, path.description, contentType: "application/json-patch+json", body: operations.serialized)
    }

    /// - Throws: `.gone` when the continuation is too old.
    func page(_ path: ResourcePath, _ query: [(String, String)]) async throws(KubernetesError) -> JSONValue {
        try await call(.GET, path.query(query))
    }

    private func call(
        _ method: HTTPMethod, _ uri: String, contentType: String = "application/json", body: [UInt8] = []
    ) async throws(KubernetesError) -> JSONValue {
        for attempt in 1... {
            let request = HTTPExchange.Request(
                method: method, uri: uri, token: try configuration.token(), contentType: contentType, body: body)
            let answer = try await answer(to: request)
            if answer.status == 200 || answer.status == 201 || answer.status == 202 {
                do { return try JSONValue(parsing: answer.body) } catch { throw .malformed("\(uri): \(error)") }
            }
            guard attempt < Self.tryLimit, let pause = Self.pause(answer.status, answer.retryAfter, attempt) else {
                throw Self.error(answer.status, uri, answer.body)
            }
            do { try await sleep(pause) } catch { throw .unreachable("\(uri): cancelled") }
        }
        throw .unreachable(uri)
    }

    private struct Answer {
        var status = 0
        var retryAfter: String?
        var body: [UInt8] = []
    }

    private func answer(to request: HTTPExchange.Request) async throws(KubernetesError) -> Answer {
        var answer = Answer()
        try await exchange.run(request) { head in
            answer.status = Int(head.status.code)
            answer.retryAfter = head.headers["retry-after"].first
        } body: { (bytes) throws(KubernetesError) in
            answer.body += bytes
            guard answer.body.count <= Self.answerLimit else {
                throw .malformed("\(request.uri): more than \(Self.answerLimit >> 20) MiB")
            }
            return true
        }
        return answer
    }

    /// Seconds to wait before another try; nil when the answer is final. 429 and 503 say that nothing was done.
    static func pause(_ status: Int, _ retryAfter: String?, _ attempt: Int) -> UInt64? {
        switch (status, retryAfter.flatMap { UInt64($0) }) {
        case (429, let seconds): min(patience, seconds ?? 1 << UInt64(min(attempt, 5)))
        case (500...599, let seconds?): min(patience, seconds)
        default: nil
        }
    }

    /// What an answer that is no success says: a `Status`, mostly.
    static func error(_ status: Int, _ uri: String, _ body: [UInt8]) -> KubernetesError {
        let message =
            (try? JSONValue(parsing: body))?["message"]?.text ?? String(decoding: body.prefix(256), as: UTF8.self)
        let text = "\(uri.prefix { $0 != "?" }): \(message.prefix(512))"
        return switch status {
        case 401, 403: .forbidden(text)
        case 404: .notFound(text)
        case 409: .conflict(text)
        case 410: .gone(text)
        default: .status(status, text)
        }
    }
}
