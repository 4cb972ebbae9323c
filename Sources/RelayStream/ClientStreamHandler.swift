import NIOCore
import NIOWebSocket
import Relay

/// The client's end of the pipeline once the connection is a stream: WebSocket frames in, messages to whoever wants them.
final class ClientStreamHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias InboundOut = Never

    private let connection: RelayStreamConnection
    private let receive: @Sendable (ByteBuffer) -> Void
    private let closed: @Sendable () -> Void
    /// The parts of a message that comes in several frames.
    private var parts: ByteBuffer?

    init(
        _ connection: RelayStreamConnection, receive: @escaping @Sendable (ByteBuffer) -> Void,
        closed: @escaping @Sendable () -> Void
    ) {
        self.connection = connection
        self.receive = receive
        self.closed = closed
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .binary where frame.fin && parts == nil: receive(frame.data)
        case .binary where parts == nil: parts = frame.data
        case .continuation:
            guard var message = parts,
                message.readableBytes + frame.data.readableBytes <= StreamFrames.maximumMessage
            else { return context.close(promise: nil) }
            message.writeImmutableBuffer(frame.data)
            parts = frame.fin ? nil : message
            if frame.fin { receive(message) }
        case .ping: context.channel.writeAndFlush(reply(.pong, frame, context), promise: nil)
        case .pong: break
        case .connectionClose:
            context.channel.writeAndFlush(reply(.connectionClose, frame, context), promise: nil)
            context.close(promise: nil)
        default: context.close(promise: nil)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { connection.drain() }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        closed()
        context.fireChannelInactive()
    }

    /// What comes is no WebSocket, or TLS has failed: either way nothing that follows can be trusted.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func reply(_ opcode: WebSocketOpcode, _ frame: WebSocketFrame, _ context: ChannelHandlerContext)
        -> ByteBuffer
    {
        ClientFrame.encode(opcode, frame.data, context.channel.allocator)
    }
}
