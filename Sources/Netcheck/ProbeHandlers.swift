import Membership
import NIOCore
import NIOTLS
import PortMapping

/// Tells when TCP's handshake is done.
final class ConnectedHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connected: () -> Void

    init(_ connected: @escaping () -> Void) { self.connected = connected }

    func channelActive(context: ChannelHandlerContext) {
        connected()
        context.fireChannelActive()
    }
}

/// Asks a proxy for a connection to the target (RFC 9110 section 9.3.6); those behind it see nothing before it is there.
final class TunnelHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private static let headLimit = 8192

    private let proxy: ProxyAddress
    private let target: HubAddress
    /// Called with the proxy's status, or nil where it speaks no HTTP.
    private let refused: (Int?) -> Void
    private var received: [UInt8] = []

    init(_ proxy: ProxyAddress, to target: HubAddress, refused: @escaping (Int?) -> Void) {
        self.proxy = proxy
        self.target = target
        self.refused = refused
    }

    func channelActive(context: ChannelHandlerContext) {
        var request = "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n"
        if let authorization = proxy.authorization { request += "Proxy-Authorization: \(authorization)\r\n" }
        let buffer = context.channel.allocator.buffer(string: request + "\r\n")
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received += Array(unwrapInboundIn(data).readableBytesView)
        guard let end = Self.endOfHead(received) else {
            if received.count > Self.headLimit { refused(nil) }
            return
        }
        // An answer to CONNECT has no body when it grants.
        guard case .complete(let response) = HTTPResponse.read(Array(received[..<end]), isEnded: true) else {
            return refused(Self.status(received))
        }
        guard (200..<300).contains(response.status) else { return refused(response.status) }
        context.fireChannelActive()
        if end < received.count {
            context.fireChannelRead(wrapInboundOut(context.channel.allocator.buffer(bytes: received[end...])))
        }
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        let mark: [UInt8] = [13, 10, 13, 10]
        guard bytes.count >= 4 else { return nil }
        return (0...bytes.count - 4).first { bytes[$0..<$0 + 4].elementsEqual(mark) }.map { $0 + 4 }
    }

    /// From the status line alone, where a body was announced that has not come.
    private static func status(_ bytes: [UInt8]) -> Int? {
        let line = String(decoding: bytes.prefix(64), as: UTF8.self)
        guard line.hasPrefix("HTTP/1.") else { return nil }
        return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }
}

/// The end of the pipeline: tells when the connection is usable, sends the request, and collects what comes.
final class CollectHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let isSecure: Bool
    private let request: [UInt8]?
    private let ready: () -> Void
    private let read: ([UInt8], Bool) -> Void
    private let failed: (any Error) -> Void
    private var received: [UInt8] = []

    init(
        isSecure: Bool, request: [UInt8]?, ready: @escaping () -> Void, read: @escaping ([UInt8], Bool) -> Void,
        failed: @escaping (any Error) -> Void
    ) {
        self.isSecure = isSecure
        self.request = request
        self.ready = ready
        self.read = read
        self.failed = failed
    }

    func channelActive(context: ChannelHandlerContext) {
        if !isSecure { begin(context) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event { begin(context) }
    }

    private func begin(_ context: ChannelHandlerContext) {
        ready()
        guard let request else { return }
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: request)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard received.count <= HTTPResponse.sizeLimit else { return }
        received += Array(unwrapInboundIn(data).readableBytesView)
        read(received, false)
    }

    func channelInactive(context: ChannelHandlerContext) { read(received, true) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { failed(error) }
}
