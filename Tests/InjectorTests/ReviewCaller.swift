import JSON
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Calls the webhook as an API server does: TLS with the bundle's authorities alone, by the Service's name, many requests on
/// one connection.
struct ReviewCaller: Sendable {
    static let name = "warren-injector.warren-system.svc"

    struct Answer: Sendable {
        var status = 0
        var isLast = false
        var body: [UInt8] = []
    }

    struct Closed: Error {}

    private let channel: any Channel
    private let host: String

    /// - Parameter bundle: whom to trust; nil for a plain port.
    static func with<Result>(
        port: Int, bundle: String?, version: TLSVersion? = nil, name: String = ReviewCaller.name,
        _ body: (ReviewCaller) async throws -> Result
    ) async throws -> Result {
        let caller = ReviewCaller(channel: try await connect(port, bundle, version, name), host: name)
        do {
            let result = try await body(caller)
            try? await caller.channel.close()
            return result
        } catch {
            try? await caller.channel.close()
            throw error
        }
    }

    func callAsFunction(_ method: HTTPMethod, _ uri: String, _ body: [UInt8]) async throws -> Answer {
        var headers: HTTPHeaders = ["Host": host, "Content-Length": "\(body.count)"]
        if !body.isEmpty { headers.add(name: "Content-Type", value: "application/json") }
        let promise = channel.eventLoop.makePromise(of: Answer.self)
        let head = HTTPRequestHead(version: .http1_1, method: method, uri: uri, headers: headers)
        // The write fails only when the connection has no handler any more that would answer.
        channel.writeAndFlush(AnswerHandler.Call(head: head, body: body, promise: promise)).whenFailure {
            promise.fail($0)
        }
        return try await promise.futureResult.get()
    }

    private static func connect(
        _ port: Int, _ bundle: String?, _ version: TLSVersion?, _ name: String
    ) async throws -> any Channel {
        var context: NIOSSLContext?
        if let bundle {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(bundle.utf8)))
            tls.minimumTLSVersion = version ?? .tlsv12
            tls.maximumTLSVersion = version
            tls.shutdownTimeout = .milliseconds(100)
            context = try NIOSSLContext(configuration: tls)
        }
        return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { [context] channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let context {
                        try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
                    }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(AnswerHandler())
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
    }
}

/// One request at a time, and its answer.
private final class AnswerHandler: ChannelDuplexHandler {
    struct Call: Sendable {
        let head: HTTPRequestHead
        let body: [UInt8]
        let promise: EventLoopPromise<ReviewCaller.Answer>
    }

    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = Call
    typealias OutboundOut = HTTPClientRequestPart

    private var promise: EventLoopPromise<ReviewCaller.Answer>?
    private var answer = ReviewCaller.Answer()

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let call = unwrapOutboundIn(data)
        // Between the connection's end and the handler's there is nobody who would answer.
        guard context.channel.isActive else {
            promise?.fail(ReviewCaller.Closed())
            return
        }
        self.promise = call.promise
        answer = ReviewCaller.Answer()
        context.write(wrapOutboundOut(.head(call.head)), promise: nil)
        if !call.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: call.body)))), promise: nil)
        }
        context.write(wrapOutboundOut(.end(nil)), promise: nil)
        promise?.succeed()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            answer.status = Int(head.status.code)
            answer.isLast = !head.isKeepAlive
        case .body(let buffer): answer.body += buffer.readableBytesView
        case .end:
            promise?.succeed(answer)
            promise = nil
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise?.fail(error)
        promise = nil
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise?.fail(ReviewCaller.Closed())
        promise = nil
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        promise?.fail(ReviewCaller.Closed())
        promise = nil
    }
}
