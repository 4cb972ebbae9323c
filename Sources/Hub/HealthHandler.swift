import Metrics
import NIOCore
import NIOHTTP1

/// The hub's health over HTTP/1.1 (on the TLS port, for a client without our ALPN): `GET /healthz` is 200 with the roles as
/// JSON, on a port for metrics `GET /metrics` is 200 with them as text, anything else 404. One answer, then the connection
/// is closed.
final class HealthHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Request line, headers and body together.
    private static let sizeLimit = 16384

    private let state: @Sendable () -> String
    private let metrics: (@Sendable () -> String)?
    private var request: HTTPRequestHead?
    private var size = 0
    private var hasAnswered = false

    /// - Parameters:
    ///   - state: the JSON to answer with.
    ///   - metrics: nil where there are none.
    init(state: @escaping @Sendable () -> String, metrics: (@Sendable () -> String)? = nil) {
        self.state = state
        self.metrics = metrics
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasAnswered else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            size = head.uri.utf8.count + head.headers.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count }
            request = head
        case .body(let part): size += part.readableBytes
        case .end:
            switch (request?.method, request?.uri) {
            case (.GET, "/healthz"): answer(.ok, state() + "\n", context)
            case (.GET, "/metrics") where metrics != nil:
                answer(.ok, metrics?() ?? "", type: Exposition.contentType, context)
            default: answer(.notFound, #"{"error":"not found"}"# + "\n", context)
            }
            return
        }
        if size > Self.sizeLimit { answer(.payloadTooLarge, #"{"error":"too large"}"# + "\n", context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(
        _ status: HTTPResponseStatus, _ text: String, type: String = "application/json",
        _ context: ChannelHandlerContext
    ) {
        hasAnswered = true
        let body = context.channel.allocator.buffer(string: text)
        let headers: HTTPHeaders = [
            "Content-Type": type, "Content-Length": "\(body.readableBytes)", "Connection": "close",
            "Cache-Control": "no-store",
        ]
        context.write(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers))), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        let done = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        done.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: done)
    }
}
