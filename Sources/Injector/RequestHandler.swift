import NIOCore
import NIOHTTP1

/// An answer to one HTTP request.
struct HTTPAnswer: Sendable {
    var status: HTTPResponseStatus
    var type = "application/json"
    var body: [UInt8]

    static func text(_ status: HTTPResponseStatus, _ text: String) -> HTTPAnswer {
        HTTPAnswer(status: status, type: "text/plain; charset=utf-8", body: Array("\(text)\n".utf8))
    }
}

/// HTTP/1.1 on one connection: gathers a request, of a bounded size and within 10 s, and answers it. Connections are kept
/// open for as long as the server does not drain.
final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let requestTimeout = TimeAmount.seconds(10)

    private let sizeLimit: Int
    private let isDraining: @Sendable () -> Bool
    private let answer: @Sendable (HTTPRequestHead, [UInt8]) -> HTTPAnswer
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var deadline: Scheduled<Void>?
    private var isRefused = false

    init(
        sizeLimit: Int, isDraining: @escaping @Sendable () -> Bool,
        answer: @escaping @Sendable (HTTPRequestHead, [UInt8]) -> HTTPAnswer
    ) {
        self.sizeLimit = sizeLimit
        self.isDraining = isDraining
        self.answer = answer
    }

    /// The API server connects when it has a request: who says nothing for 10 s is not it.
    func handlerAdded(context: ChannelHandlerContext) { limit(context) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isRefused else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = []
            limit(context)
        case .body(let part):
            guard body.count + part.readableBytes <= sizeLimit else {
                isRefused = true
                return respond(.text(.payloadTooLarge, "more than \(sizeLimit) bytes"), isLast: true, context)
            }
            body += part.readableBytesView
        case .end:
            guard let head else { return }
            let answer = answer(head, body)
            respond(answer, isLast: !head.isKeepAlive || isDraining(), context)
        }
    }

    private func limit(_ context: ChannelHandlerContext) {
        deadline?.cancel()
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: Self.requestTimeout) { channel.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    private func respond(_ answer: HTTPAnswer, isLast: Bool, _ context: ChannelHandlerContext) {
        deadline?.cancel()
        (head, body) = (nil, [])
        var headers: HTTPHeaders = ["Content-Type": answer.type, "Content-Length": "\(answer.body.count)"]
        if isLast { headers.add(name: "Connection", value: "close") }
        let head = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
        let done = context.eventLoop.makePromise(of: Void.self)
        if isLast {
            let channel = context.channel
            done.futureResult.whenComplete { _ in channel.close(promise: nil) }
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: done)
    }
}
