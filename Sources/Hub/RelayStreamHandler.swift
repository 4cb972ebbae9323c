import Addressing
import Linux
import NIOCore
import NIOWebSocket
import Relay
import RelayStream
import Timing

/// The relay's end of one stream: WebSocket frames in, messages to the switch; the port's portions out.
///
/// A stream that does not register within the deadline, or says more before than registering takes, is closed; so is one
/// that does not mask, sends text, or breaks the framing.
final class RelayStreamHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    static let registrationTimeout = TimeAmount.seconds(10)
    /// A hello and a proof, and once again.
    private static let unregisteredLimit = 4096
    private static let handshakes = TokenBucket.Limit(perSecond: 1, burst: 8)
    private static let webSocketPings = TokenBucket.Limit(perSecond: 1, burst: 10)
    /// Room for the longest header of a server's frame.
    private static let headroom = 10

    private let exchange: RelaySwitch
    private let hello: Hello?
    private let source: Endpoint
    private let clock: @Sendable () -> (MonotonicTime, WallTime)
    private var port: RelayPort?
    private var isRegistered = false
    private var isClosing = false
    private var unregisteredBytes = 0
    private var handshakeBucket: TokenBucket
    private var pingBucket: TokenBucket
    /// The parts of a message that comes in several frames.
    private var parts: ByteBuffer?
    private var deadline: Scheduled<Void>?

    /// - Parameter hello: what came with the upgrade.
    init(
        _ exchange: RelaySwitch, hello: Hello?, from source: Endpoint,
        clock: @escaping @Sendable () -> (MonotonicTime, WallTime)
    ) {
        self.exchange = exchange
        self.hello = hello
        self.source = source
        self.clock = clock
        let now = clock().0
        handshakeBucket = TokenBucket(full: Self.handshakes, now: now)
        pingBucket = TokenBucket(full: Self.webSocketPings, now: now)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        port = exchange.open(from: source, context.channel)
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: Self.registrationTimeout) {
            channel.pipeline.fireUserInboundEventTriggered(RelayPort.Wish.close(.notRegistered))
        }
        guard let hello else { return }
        var message = channel.allocator.buffer(bytes: StreamFrames.message(hello.bytes))
        handle(&message, context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        guard !isClosing else { return }
        guard let key = frame.maskKey, !frame.rsv1, !frame.rsv2, !frame.rsv3 else {
            return close(.protocolError, context)
        }
        switch frame.opcode {
        case .binary where parts == nil, .continuation where parts != nil:
            var message = MessageMask.apply(key, to: frame.data, context.channel.allocator)
            if var before = parts {
                guard before.readableBytes + message.readableBytes <= StreamFrames.maximumMessage else {
                    return close(.messageTooLarge, context)
                }
                before.writeBuffer(&message)
                message = before
            }
            parts = frame.fin ? nil : message
            if frame.fin { handle(&message, context) }
        case .ping:
            guard pingBucket.take(1, limit: Self.webSocketPings, now: clock().0) else { return }
            write(
                .pong, MessageMask.apply(key, to: frame.data, headroom: Self.headroom, context.channel.allocator),
                context)
            context.flush()
        case .pong: break
        case .connectionClose: close(.normalClosure, context)
        case .text: close(.unacceptableData, context)
        default: close(.protocolError, context)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case RelayPort.Wish.drain: drain(context)
        case RelayPort.Wish.close(let ending):
            if case .notRegistered = ending, isRegistered { return }
            close(.unknown(ending.rawValue), context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { drain(context) }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? NIOWebSocketError else { return context.close(promise: nil) }
        close(error == .invalidFrameLength ? .messageTooLarge : .protocolError, context)
    }

    private func end() {
        deadline?.cancel()
        deadline = nil
        if let port { exchange.close(port, wasRegistered: isRegistered) }
        port = nil
    }

    /// A whole message, in memory of its own.
    private func handle(_ message: inout ByteBuffer, _ context: ChannelHandlerContext) {
        guard let port else { return }
        if !isRegistered {
            unregisteredBytes += message.readableBytes
            guard unregisteredBytes <= Self.unregisteredLimit else { return close(.policyViolation, context) }
        }
        let (now, wall) = clock()
        do throws(FrameFault) {
            let replies = try exchange.receive(&message, from: port, now: now, wall: wall) { type in
                (type != .hello && type != .proof) || handshakeBucket.take(1, limit: Self.handshakes, now: now)
            }
            guard !replies.isEmpty else { return }
            var answer = context.channel.allocator.buffer(capacity: 128)
            answer.moveWriterIndex(to: Self.headroom)
            answer.moveReaderIndex(to: Self.headroom)
            for reply in replies {
                if !isRegistered, reply.first == FrameType.accepted.rawValue {
                    isRegistered = true
                    exchange.noteRegistered()
                    deadline?.cancel()
                }
                answer.writeBytes(StreamFrames.message(reply))
            }
            write(.binary, answer, context)
            context.flush()
        } catch { close(.protocolError, context) }
    }

    /// Writes what waits, as much as the connection takes.
    private func drain(_ context: ChannelHandlerContext) {
        guard let port, !isClosing else { return }
        var unflushed = 0
        while context.channel.isWritable, let portion = port.next(headroom: Self.headroom, now: clock().0) {
            write(.binary, portion, context)
            unflushed += portion.readableBytes
            if unflushed >= RelayStreamConnection.flushSize {
                unflushed = 0
                context.flush()
            }
        }
        if unflushed > 0 { context.flush() }
    }

    private func write(_ opcode: WebSocketOpcode, _ data: ByteBuffer, _ context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, data: data)), promise: nil)
    }

    private func close(_ code: WebSocketErrorCode, _ context: ChannelHandlerContext) {
        guard !isClosing else { return }
        isClosing = true
        end()
        var data = context.channel.allocator.buffer(capacity: 2)
        data.write(webSocketErrorCode: code)
        write(.connectionClose, data, context)
        context.flush()
        // A peer that reads nothing must not hold the connection.
        context.close(promise: nil)
    }
}
