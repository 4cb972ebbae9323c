package import Directory
package import Membership
package import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket
package import Relay
package import Sodium
package import Timing

/// Opens streams to one relay: TCP, through a proxy if there is one, TLS 1.3 with the server's key pinned, HTTP Upgrade. There
/// is no way to leave the verification out.
package struct RelayStreamConnector: Sendable {
    package let address: HubAddress
    package let proxy: HTTPProxy?
    private let pin: Bytes32
    private let timeout: TimeAmount

    /// TCP_NOTSENT_LOWAT (tcp(7)): what the kernel keeps unsent, which nothing overtakes. The rest waits here, where pings go
    /// ahead of data and what is too much is dropped.
    private static let unsentLimit = NIOBSDSocket.Option(rawValue: 25)

    /// One for all relays, as it is the pin that tells them apart; made when the first stream is opened, since most agents
    /// never open one.
    private static let context = Result {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv13
        configuration.applicationProtocols = ["http/1.1"]
        // The pin decides (`verify` below), so that no certificate store is needed or asked.
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates([])
        configuration.shutdownTimeout = .milliseconds(500)
        return try NIOSSLContext(configuration: configuration)
    }

    /// - Parameter timeout: for all of it, from name resolution to the upgrade.
    package init(
        to address: HubAddress, pin: Bytes32, proxy: HTTPProxy? = nil, timeout: Interval = .seconds(10)
    ) {
        self.address = address
        self.pin = pin
        self.proxy = proxy
        self.timeout = .nanoseconds(Int64(clamping: timeout.nanoseconds))
    }

    /// Begins to open a stream on `loop`.
    ///
    /// - Parameters:
    ///   - local: the address to connect from, for a host that has several.
    ///   - receive: called on the loop with each message, once the connection is there.
    ///   - closed: called on the loop when the connection has ended, if it was there.
    package func connect(
        _ hello: Hello, on loop: any EventLoop, from local: SocketAddress? = nil,
        receive: @escaping @Sendable (ByteBuffer) -> Void, closed: @escaping @Sendable () -> Void
    ) -> RelayStreamAttempt {
        let attempt = RelayStreamAttempt(on: loop, address)
        let deadline = loop.scheduleTask(in: timeout) { attempt.fail(.timeout(address)) }
        attempt.connection.whenComplete { _ in deadline.cancel() }
        let target = proxy?.address ?? address
        var bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.tcpOption(Self.unsentLimit), value: 128 << 10)
            .channelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 256 << 10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try configure(channel, attempt, hello, receive: receive, closed: closed)
                }
            }
        if let local { bootstrap = bootstrap.bind(to: local) }
        bootstrap.connect(to: target).whenComplete { result in
            switch result {
            case .success(let channel):
                guard attempt.select(channel) else { return }
                var head = HTTPRequestHead(
                    version: .http1_1, method: .GET, uri: RelayUpgrade.path, headers: RelayUpgrade.headers(hello))
                head.headers.add(name: "Host", value: address.description)
                channel.write(HTTPClientRequestPart.head(head), promise: nil)
                channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
            case .failure(let error):
                let reason = Self.reason(error)
                attempt.fail(
                    proxy.map { .proxy(.unreachable($0.address, reason: reason)) }
                        ?? .unreachable(address, reason: reason)
                )
            }
        }
        return attempt
    }

    private func configure(
        _ channel: any Channel, _ attempt: RelayStreamAttempt, _ hello: Hello,
        receive: @escaping @Sendable (ByteBuffer) -> Void, closed: @escaping @Sendable () -> Void
    ) throws {
        attempt.add(channel)
        let (pin, address) = (pin, address)
        let pipeline = channel.pipeline.syncOperations
        if let proxy {
            try pipeline.addHandler(ProxyConnectHandler(proxy, to: address) { attempt.fail(.proxy($0), on: channel) })
        }
        let verify: NIOSSLCustomVerificationCallback = { certificates, promise in
            let isRight = certificates.first.flatMap { try? HubLink.pin(of: $0) } == pin
            if !isRight { attempt.fail(.wrongPin(address), on: channel) }
            promise.succeed(isRight ? .certificateVerified : .failed)
        }
        let name = address.host.contains(":") || address.host.last?.isNumber == true ? nil : address.host
        try pipeline.addHandler(
            NIOSSLClientHandler(
                context: Self.context.get(), serverHostname: name, customVerificationCallback: verify))
        let refusal = RefusalHandler(address, attempt)
        let upgrader = StreamUpgrader { channel in
            let connection = RelayStreamConnection(channel)
            let pipeline = channel.pipeline.syncOperations
            pipeline.removeHandler(refusal, promise: nil)
            // A cancelled attempt has closed the channel: nothing is to be heard of it.
            guard attempt.succeed(connection) else { return }
            try pipeline.addHandler(
                ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: StreamFrames.maximumMessage)))
            try pipeline.addHandler(ClientStreamHandler(connection, receive: receive, closed: closed))
        }
        try pipeline.addHTTPClientHandlers(
            leftOverBytesStrategy: .forwardBytes,
            withClientUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
        try pipeline.addHandler(refusal)
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            if let failure = error.connectionErrors.first { return reason(failure.error) }
            return "\(error.host) has no address in DNS"
        case ChannelError.connectTimeout: return "no answer in time"
        case let error as IOError: return error.description
        default: return "\(error)"
        }
    }
}

/// The client's side of the opening handshake as `NIOWebSocket` does it; the frames after it are our own, because that
/// module's encoder masks byte by byte.
private final class StreamUpgrader: NIOHTTPClientProtocolUpgrader {
    private let handshake = NIOWebSocketClientUpgrader { channel, _ in channel.eventLoop.makeSucceededVoidFuture() }
    private let upgraded: (any Channel) throws -> Void

    init(_ upgraded: @escaping (any Channel) throws -> Void) { self.upgraded = upgraded }

    var supportedProtocol: String { handshake.supportedProtocol }
    var requiredUpgradeHeaders: [String] { handshake.requiredUpgradeHeaders }

    func addCustom(upgradeRequestHeaders: inout HTTPHeaders) {
        handshake.addCustom(upgradeRequestHeaders: &upgradeRequestHeaders)
    }

    func shouldAllowUpgrade(upgradeResponse: HTTPResponseHead) -> Bool {
        handshake.shouldAllowUpgrade(upgradeResponse: upgradeResponse)
            && upgradeResponse.headers.first(name: "Sec-WebSocket-Protocol") == RelayUpgrade.subprotocol
    }

    func upgrade(context: ChannelHandlerContext, upgradeResponse: HTTPResponseHead) -> EventLoopFuture<Void> {
        let channel = context.channel
        return context.eventLoop.makeCompletedFuture { try upgraded(channel) }
    }
}
