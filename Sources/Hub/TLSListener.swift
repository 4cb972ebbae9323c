import Addressing
import Directory
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import Timing

/// The hub's TLS port: limits, handshake, and then either our protocol or HTTP for health and the relay's streams, by ALPN.
struct TLSListener: Sendable {
    enum Accepted: Sendable {
        case agent(NIOAsyncChannel<Message, Message>)
        /// Handled in its pipeline.
        case web
    }

    typealias Server = NIOAsyncChannel<EventLoopFuture<Accepted>, Never>

    static let handshakeTimeout = TimeAmount.seconds(10)
    static let idleTimeout = TimeAmount.seconds(90)
    static let backlog: CInt = 4096
    /// What a connection may have under way before its writers wait.
    static let watermark = ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: 256 << 10)
    /// What the kernel takes beyond what TCP may send now (TCP_NOTSENT_LOWAT): the rest waits in a stream's fair queue.
    static let unsentLimit = ChannelOptions.Types.SocketOption(level: .tcp, name: .init(rawValue: 25))
    static let unsentBytes = 128 << 10

    private let context: NIOSSLContext
    private let limits: ConnectionLimits
    private let counters: FrameCounters
    private let web: WebPort
    private let ramp: AdmissionRamp

    init(
        certificate: [UInt8], key: [UInt8], limits: ConnectionLimits, counters: FrameCounters,
        web: WebPort, ramp: AdmissionRamp
    ) throws(HubError) {
        do {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMBytes(certificate).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(bytes: key, format: .pem)))
            configuration.minimumTLSVersion = .tlsv13
            configuration.applicationProtocols = [HubLink.applicationProtocol, "http/1.1"]
            context = try NIOSSLContext(configuration: configuration)
        } catch { throw .tls("tls.crt and tls.key: \(error)") }
        self.limits = limits
        self.counters = counters
        self.web = web
        self.ramp = ramp
    }

    func bind(host: String, port: UInt16, group: any EventLoopGroup) async throws(HubError) -> Server {
        do {
            return try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: Self.backlog)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .serverChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(AdmissionHandler(ramp))
                    }
                }
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelOption(.writeBufferWaterMark, value: Self.watermark)
                .childChannelOption(Self.unsentLimit, value: Self.unsentBytes)
                .bind(host: host, port: Int(port)) { channel in
                    channel.eventLoop.makeCompletedFuture { try configure(channel) }
                }
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw .portTaken("\(host):\(port)")
        } catch { throw .listen("\(host):\(port)", reason: "\(error)") }
    }

    private func configure(_ channel: any Channel) throws -> EventLoopFuture<Accepted> {
        try Self.admit(channel, limits)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(NIOSSLServerHandler(context: context))
        let (counters, web, ramp) = (counters, web, ramp)
        let negotiation = NIOTypedApplicationProtocolNegotiationHandler<Accepted> { result, channel in
            channel.eventLoop.makeCompletedFuture {
                switch result {
                case .negotiated(HubLink.applicationProtocol):
                    return .agent(try Self.wrap(channel, counters))
                case .negotiated("http/1.1"), .fallback:
                    try web.configure(channel)
                    return .web
                case .negotiated(let other): throw HubError.tls("ALPN \(other)")
                }
            }
        }
        try pipeline.addHandler(negotiation)
        let deadline = channel.eventLoop.scheduleTask(in: Self.handshakeTimeout) { channel.close(promise: nil) }
        ramp.begin()
        negotiation.protocolNegotiationResult.whenComplete { result in
            ramp.end()
            deadline.cancel()
            if case .failure = result { channel.close(promise: nil) }
        }
        return negotiation.protocolNegotiationResult
    }

    private static func wrap(
        _ channel: any Channel, _ counters: FrameCounters
    ) throws -> NIOAsyncChannel<Message, Message> {
        try channel.pipeline.syncOperations.addHandlers([
            IdleStateHandler(readTimeout: idleTimeout), ByteToMessageHandler(MessageDecoder(counters: counters)),
            MessageToByteHandler(MessageEncoder()), IdleCloser(),
        ])
        return try NIOAsyncChannel(wrappingChannelSynchronously: channel)
    }

    /// Counts a connection in, for as long as it lasts.
    ///
    /// - Throws: when there are too many; it is closed then.
    static func admit(_ channel: any Channel, _ limits: ConnectionLimits) throws {
        guard let source = channel.remoteAddress.flatMap(Self.endpoint)?.address else { return }
        guard limits.open(from: source, now: .now()) else {
            channel.close(promise: nil)
            throw ChannelError.eof
        }
        channel.closeFuture.whenComplete { _ in limits.close(from: source, now: .now()) }
    }

    static func endpoint(_ address: SocketAddress) -> Endpoint? {
        guard let text = address.ipAddress, let port = address.port, let ip = IPAddress(text) else { return nil }
        return Endpoint(ip, port: UInt16(clamping: port))
    }
}

/// Closes a connection on which nothing has come for the idle timeout.
final class IdleCloser: ChannelInboundHandler {
    typealias InboundIn = Message
    typealias InboundOut = Message

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case IdleStateHandler.IdleStateEvent.read = event { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }
}
