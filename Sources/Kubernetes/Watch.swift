package import JSON
import NIOCore
import NIOHTTP1

/// What has happened to the objects of a list.
package enum WatchEvent: Equatable, Sendable {
    /// All of them, at the start and whenever changes have been missed: what isn't in it is gone.
    case listed([JSONValue])
    case added(JSONValue)
    case modified(JSONValue)
    case deleted(JSONValue)
}

extension KubernetesClient {
    /// How long a watch is asked to last, in seconds, and how long it may be silent: bookmarks come each minute.
    private static let watchSeconds = 300
    private static let watchSilence = TimeAmount.seconds(330)
    private static let pageSize = 500

    /// Lists and watches for ever: tells `onEvent` all there is, then each change in its order. A connection that ends is
    /// made anew where it was; when that is too long ago (410), all is listed again.
    ///
    /// - Parameter selector: a field selector, as `metadata.name=x`; empty for all.
    /// - Parameter onTrouble: is told what went wrong; it is tried again after a pause of at most 30 s.
    /// - Throws: only on cancellation.
    package func follow(
        _ path: ResourcePath, selector: String = "", onEvent: @Sendable (WatchEvent) async -> Void,
        onTrouble: @Sendable (KubernetesError) -> Void
    ) async throws(CancellationError) {
        var version: String?
        var failures: UInt64 = 0
        while !Task.isCancelled {
            do throws(KubernetesError) {
                if version == nil {
                    let list = try await list(path, selector)
                    version = list.version
                    await onEvent(.listed(list.items))
                }
                try await watch(path, selector, from: &version, onEvent: onEvent)
                failures = 0
            } catch {
                if case .gone = error {
                    version = nil
                    // Once is usual; over and over would be a server that knows no better.
                    if failures == 0 {
                        failures = 1
                        continue
                    }
                }
                if Task.isCancelled { break }
                failures += 1
                onTrouble(error)
                do { try await sleep(min(30, 1 << min(failures, 5))) } catch { throw CancellationError() }
            }
        }
        throw CancellationError()
    }

    private func list(
        _ path: ResourcePath, _ selector: String
    ) async throws(KubernetesError) -> (items: [JSONValue], version: String) {
        var items: [JSONValue] = []
        var continuation = ""
        repeat {
            var query = [("limit", "\(Self.pageSize)")]
            if !selector.isEmpty { query.append(("fieldSelector", selector)) }
            if !continuation.isEmpty { query.append(("continue", continuation)) }
            let page = try await page(path, query)
            guard let version = page["metadata"]?["resourceVersion"]?.text else {
                throw .malformed("\(path): a list without resourceVersion")
            }
            items += page["items"]?.elements ?? []
            continuation = page["metadata"]?["continue"]?.text ?? ""
            if continuation.isEmpty { return (items, version) }
        } while true
    }

    /// Returns when the server ends the watch in good order; `version` is how far it came.
    private func watch(
        _ path: ResourcePath, _ selector: String, from version: inout String?,
        onEvent: @Sendable (WatchEvent) async -> Void
    ) async throws(KubernetesError) {
        var query = [
            ("watch", "1"), ("allowWatchBookmarks", "true"), ("resourceVersion", version ?? ""),
            ("timeoutSeconds", "\(Self.watchSeconds)"),
        ]
        if !selector.isEmpty { query.append(("fieldSelector", selector)) }
        let request = HTTPExchange.Request(
            method: .GET, uri: path.query(query), token: try configuration.token(), idle: Self.watchSilence)
        var status = 0
        var lines = LineBuffer(limit: Self.answerLimit)
        var refusal: [UInt8] = []
        var reached = version
        defer { version = reached }
        try await exchange.run(request) { head in
            status = Int(head.status.code)
        } body: { (bytes) throws(KubernetesError) in
            guard status == 200 else {
                refusal += bytes.prefix(65536 - min(65536, refusal.count))
                return true
            }
            for line in try lines.take(bytes) {
                guard let event = try Self.event(line, path, &reached) else { continue }
                await onEvent(event)
            }
            return true
        }
        guard status == 200 else { throw Self.error(status, path.description, refusal) }
    }

    /// One line of a watch; nil for a bookmark, which only says how far it is.
    private static func event(
        _ line: [UInt8], _ path: ResourcePath, _ version: inout String?
    ) throws(KubernetesError) -> WatchEvent? {
        let event: JSONValue
        do { event = try JSONValue(parsing: line) } catch { throw .malformed("\(path): watch: \(error)") }
        guard let type = event["type"]?.text, let object = event["object"] else {
            throw .malformed("\(path): watch: an event without type or object")
        }
        if type == "ERROR" {
            let code = Int(object["code"]?.integer ?? 500)
            throw error(code, path.description, object.serialized)
        }
        guard let reached = object["metadata"]?["resourceVersion"]?.text else {
            throw .malformed("\(path): watch: an object without resourceVersion")
        }
        version = reached
        switch type {
        case "ADDED": return .added(object)
        case "MODIFIED": return .modified(object)
        case "DELETED": return .deleted(object)
        case "BOOKMARK": return nil
        default: throw .malformed("\(path): watch: event \(type.prefix(32))")
        }
    }
}

/// Divides a stream into lines, however it is cut.
struct LineBuffer {
    let limit: Int
    private var rest: [UInt8] = []

    init(limit: Int) { self.limit = limit }

    mutating func take(_ bytes: [UInt8]) throws(KubernetesError) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        for piece in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            if piece.offset > 0 {
                if !rest.isEmpty { lines.append(rest) }
                rest = []
            }
            rest += piece.element
            guard rest.count <= limit else { throw .malformed("watch: a line of more than \(limit >> 20) MiB") }
        }
        return lines
    }
}
