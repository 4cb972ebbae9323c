package import Membership
package import NIOCore

/// Asks a proxy for a connection (CONNECT, RFC 9110 9.3.6), holds everything back until it is there, and then leaves the
/// pipeline.
package final class ProxyConnectHandler: ChannelDuplexHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private static let answerLimit = 8192

    private let proxy: HTTPProxy
    private let target: HubAddress
    /// Called with why there is no connection, before the channel is closed.
    private let failed: (ProxyError) -> Void
    private var answer = ByteBuffer()
    private var isDone = false

    package init(_ proxy: HTTPProxy, to target: HubAddress, failed: @escaping (ProxyError) -> Void) {
        self.proxy = proxy
        self.target = target
        self.failed = failed
    }

    package func channelActive(context: ChannelHandlerContext) {
        var request = "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n"
        if let authorization = proxy.authorization { request += "Proxy-Authorization: \(authorization)\r\n" }
        request += "Proxy-Connection: keep-alive\r\n\r\n"
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(string: request)), promise: nil)
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = unwrapInboundIn(data)
        if isDone { return context.fireChannelRead(data) }
        answer.writeBuffer(&part)
        guard let end = Self.endOfHead(answer) else {
            if answer.readableBytes > Self.answerLimit { fail(.notAProxy(proxy.address), context) }
            return
        }
        guard let status = Self.status(answer) else { return fail(.notAProxy(proxy.address), context) }
        guard (200..<300).contains(status) else {
            return fail(
                status == 407 ? .credentials(proxy.address) : .refused(proxy.address, status: status), context
            )
        }
        isDone = true
        answer.moveReaderIndex(forwardBy: end)
        // Those behind begin now, with what came after the head.
        context.fireChannelActive()
        if answer.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(answer)) }
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        if !isDone { failed(.unreachable(proxy.address, reason: "it closed the connection")) }
        isDone = true
        context.fireChannelInactive()
    }

    private func fail(_ error: ProxyError, _ context: ChannelHandlerContext) {
        guard !isDone else { return }
        isDone = true
        failed(error)
        context.close(promise: nil)
    }

    /// The offset behind the empty line.
    private static func endOfHead(_ buffer: ByteBuffer) -> Int? {
        let bytes = buffer.readableBytesView
        guard bytes.count >= 4 else { return nil }
        var last: UInt32 = 0
        for (offset, byte) in bytes.enumerated() {
            last = last << 8 | UInt32(byte)
            if offset >= 3, last == 0x0d0a_0d0a { return offset + 1 }
        }
        return nil
    }

    /// `HTTP/1.x NNN`.
    private static func status(_ buffer: ByteBuffer) -> Int? {
        let line = buffer.readableBytesView.prefix(12)
        guard line.count == 12, line.starts(with: Array("HTTP/1.".utf8)) else { return nil }
        let digits = line.suffix(4)
        guard digits.first == 0x20, digits.dropFirst().allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int(String(decoding: digits.dropFirst(), as: UTF8.self))
    }
}
