package import JSON
import NIOCore
import NIOHTTP1
import Timing

/// The few calls of the Kubernetes API that are needed. Each reads the token's file anew; those that are told to come
/// later (429, and 503 with Retry-After) do so, a few times.
package struct KubernetesClient: Sendable {
    /// The API server's own limit is 3 MiB an object; lists come in pages.
    static let answerLimit = 64 << 20

    /// How long a call may take, and how often it is tried.
    package struct Manners: Sendable {
        package var tries = 5
        /// The longest that a server is believed when it says how long to wait, in seconds.
        package var patience: UInt64 = 60
        /// How long the server may be silent, in seconds.
        package var silence: Int64 = 30
        /// For a caller whose own caller waits: what may be repeated is tried again when it failed (5xx, 401 once, as the
        /// token may have been renewed meanwhile, or no answer), and who asks for more patience than there is gets none.
        package var isBrief = false

        /// Nobody waits long.
        package static let standard = Manners()
        /// An agent waits: some seconds in all.
        package static let brief = Manners(tries: 3, patience: 2, silence: 5, isBrief: true)
    }

    /// A brief call is not begun again after it.
    private static let briefness = Interval.seconds(5)

    package let configuration: ClusterConfiguration
    let manners: Manners
    let exchange: HTTPExchange
    let sleep: @Sendable (_ seconds: UInt64) async throws -> Void

    package init(
        _ configuration: ClusterConfiguration, manners: Manners = .standard,
        sleep: @escaping @Sendable (UInt64) async throws -> Void = {
            try await Task.sleep(nanoseconds: $0 * 1_000_000_000)
        }
    ) throws(KubernetesError) {
        self.configuration = configuration
        self.manners = manners
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

    /// As `create`, but what is refused for now (429) is not tried again: for evictions, which a disruption budget refuses.
    package func createOnce(_ path: ResourcePath, _ object: JSONValue) async throws(KubernetesError) -> JSONValue {
        try await call(.POST, path.description, body: object.serialized, tries: 1)
    }

    /// - Throws: `.gone` when the continuation is too old.
    func page(_ path: ResourcePath, _ query: [(String, String)]) async throws(KubernetesError) -> JSONValue {
        try await call(.GET, path.query(query))
    }

    /// A POST that changes nothing, so that it may be repeated.
    func ask(_ path: ResourcePath, _ object: JSONValue) async throws(KubernetesError) -> JSONValue {
        try await call(.POST, path.description, body: object.serialized, isRepeatable: true)
    }

    private func call(
        _ method: HTTPMethod, _ uri: String, contentType: String = "application/json", body: [UInt8] = [],
        isRepeatable: Bool = false, tries: Int? = nil
    ) async throws(KubernetesError) -> JSONValue {
        let start = MonotonicTime.now()
        let isRepeatable = manners.isBrief && (isRepeatable || method == .GET)
        for attempt in 1... {
            var request = HTTPExchange.Request(
                method: method, uri: uri, token: try configuration.token(), contentType: contentType, body: body)
            request.idle = .seconds(manners.silence)
            let answer: Answer
            do throws(KubernetesError) { answer = try await self.answer(to: request) } catch {
                guard isRepeatable, attempt < manners.tries, case .unreachable = error,
                    MonotonicTime.now().since(start) < Self.briefness
                else { throw error }
                do { try await sleep(1) } catch { throw .unreachable("\(uri): cancelled") }
                continue
            }
            if answer.status == 200 || answer.status == 201 || answer.status == 202 {
                do { return try JSONValue(parsing: answer.body) } catch { throw .malformed("\(uri): \(error)") }
            }
            let asked = pause(answer.status, answer.retryAfter, attempt)
            guard attempt < tries ?? manners.tries,
                let seconds = asked ?? (isRepeatable ? failurePause(answer.status, attempt) : nil)
            else {
                throw Self.error(answer.status, uri, answer.body)
            }
            do { try await sleep(seconds) } catch { throw .unreachable("\(uri): cancelled") }
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
    private func pause(_ status: Int, _ retryAfter: String?, _ attempt: Int) -> UInt64? {
        let asked: UInt64
        switch (status, retryAfter.flatMap { UInt64($0) }) {
        case (429, let seconds): asked = seconds ?? 1 << UInt64(min(attempt, 5))
        case (500...599, let seconds?): asked = seconds
        default: return nil
        }
        return manners.isBrief && asked > manners.patience ? nil : min(manners.patience, asked)
    }

    private func failurePause(_ status: Int, _ attempt: Int) -> UInt64? {
        switch status {
        case 401: attempt == 1 ? 1 : nil
        case 500, 502, 503, 504: 1
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
