import Foundation
import Injector
import JSON
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import Testing
import Timing

@testable import Kubernetes

/// A TLS server on loopback that answers as an API server does: each test says what, piece by piece.
final class TestAPIServer: Sendable {
    struct Request: Sendable {
        var method: String
        var path: String
        var query: [String: String]
        var headers: HTTPHeaders
        var body: [UInt8]

        var json: JSONValue { (try? JSONValue(parsing: body)) ?? .null }
    }

    enum Step: Sendable {
        case head(Int, [String: String])
        case body(String)
        /// Waits until the closure returns: for a watch that is open.
        case wait(@Sendable () async -> Void)
        /// Ends the connection in the middle of the answer.
        case drop
        case end

        static func json(_ status: Int, _ value: JSONValue, _ headers: [String: String] = [:]) -> [Step] {
            [.head(status, headers), .body(String(decoding: value.serialized, as: UTF8.self)), .end]
        }

        static func failure(_ code: Int, _ reason: String, _ headers: [String: String] = [:]) -> [Step] {
            json(
                code,
                [
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": .string("it is \(reason)"),
                    "reason": .string(reason), "code": JSONValue(integer: code),
                ], headers)
        }
    }

    private let received = Mutex<[Request]>([])
    var requests: [Request] { received.withLock { $0 } }

    private typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    /// Serves while `body` runs; `answer` is called for each request, with its number from 0.
    static func with(
        _ answer: @escaping @Sendable (Int, Request) async -> [Step],
        _ body: (TestAPIServer, ClusterConfiguration) async throws -> Void
    ) async throws {
        let folder = "/tmp/warren-api-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let now = WallTime.now()
        let authority = try CertificateIssuer.authority(life: 3600, now: now)
        let leaf = try CertificateIssuer.leaf(["localhost"], by: authority, life: 3600, now: now)
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(leaf.certificate.utf8)).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(leaf.key.utf8), format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        let context = try NIOSSLContext(configuration: tls)
        let server = TestAPIServer()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .bind(host: "127.0.0.1", port: 0) { channel -> EventLoopFuture<any Channel> in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLServerHandler(context: context))
                    try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false)
                    // Wrapped, and read from, only by who serves it: a wrapped channel that nobody takes is a trap.
                    return channel
                }
            }
        for (name, text) in [
            ("token", "secret-token\n"), ("ca.crt", authority.certificate), ("namespace", "warren-system"),
        ] {
            try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
        }
        let port = try #require(listener.channel.localAddress?.port)
        let configuration = try ClusterConfiguration.inCluster(folder: folder) { name in
            ["KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": "\(port)"][name]
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await listener.executeThenClose { connections in
                    try await withThrowingDiscardingTaskGroup { group in
                        for try await connection in connections {
                            group.addTask { try? await server.serve(connection, answer) }
                        }
                    }
                }
            }
            try await body(server, configuration)
            group.cancelAll()
        }
    }

    private func serve(
        _ channel: any Channel, _ answer: @Sendable (Int, Request) async -> [Step]
    ) async throws {
        let connection = try await channel.eventLoop.submit {
            try Connection(wrappingChannelSynchronously: channel)
        }.get()
        channel.setOption(.autoRead, value: true).whenComplete { _ in channel.read() }
        try await connection.executeThenClose { inbound, outbound in
            var head: HTTPRequestHead?
            var body: [UInt8] = []
            for try await part in inbound {
                switch part {
                case .head(let value): head = value
                case .body(let buffer): body += buffer.readableBytesView
                case .end:
                    guard let head else { return }
                    let request = Self.request(head, body)
                    let number = received.withLock {
                        $0.append(request)
                        return $0.count - 1
                    }
                    for step in await answer(number, request) {
                        switch step {
                        case .head(let status, let fields):
                            let headers = HTTPHeaders(fields.map { ($0.key, $0.value) })
                            try await outbound.write(
                                .head(.init(version: .http1_1, status: .init(statusCode: status), headers: headers)))
                        case .body(let text): try await outbound.write(.body(.byteBuffer(ByteBuffer(string: text))))
                        case .wait(let condition): await condition()
                        case .drop: return try await connection.channel.close()
                        case .end: try await outbound.write(.end(nil))
                        }
                    }
                    return
                }
            }
        }
    }

    private static func request(_ head: HTTPRequestHead, _ body: [UInt8]) -> Request {
        let parts = head.uri.split(separator: "?", maxSplits: 1)
        var query: [String: String] = [:]
        for item in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let pair = item.split(separator: "=", maxSplits: 1)
            query[String(pair[0])] = pair.count > 1 ? String(pair[1]).removingPercentEncoding : ""
        }
        return Request(
            method: head.method.rawValue, path: String(parts.first ?? ""), query: query, headers: head.headers,
            body: body)
    }
}

/// What has been heard, in order, and a way to wait for more of it.
final class Journal<Entry: Sendable>: Sendable {
    private let state = Mutex<[Entry]>([])
    var entries: [Entry] { state.withLock { $0 } }

    func note(_ entry: Entry) { state.withLock { $0.append(entry) } }

    /// - Returns: false when there are fewer than `count` after 10 s.
    func reaches(_ count: Int) async -> Bool {
        for _ in 0..<1000 {
            if entries.count >= count { return true }
            try? await Task.sleep(nanoseconds: 10_000_000)
        }
        return false
    }
}
