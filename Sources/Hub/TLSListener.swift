import Addressing
import Directory
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOTLS
import Timing

/// The hub's TLS port: limits, handshake, and then either our protocol or HTTP for health, by ALPN.
struct TLSListener: Sendable {
    enum Accepted: Sendable {
        case agent(NIOAsyncChannel<Message, Message>)
        /// Handled in its pipeline.
        case health
    }

    typealias Server = NIOAsyncChannel<EventLoopFuture<Accepted>, Never>

    static let handshakeTimeout = TimeAmount.seconds(10)
    static let idleTimeout = TimeAmount.seconds(90)

    private let context: NIOSSLContext
    private let limits: ConnectionLimits
    private let counters: FrameCounters
    private let health: @Sendable () -> String

    init(
        certificate: [UInt8], key: [UInt8], limits: ConnectionLimits, counters: FrameCounters,
        health: @escaping @Sendable () -> String
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
        self.health = health
    }

    func bind(host: String, port: UInt16, group: any EventLoopGroup) async throws(HubError) -> Server {
        do {
            return try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 512)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .bind(host: host, port: Int(port)) { channel in
                    channel.eventLoop.makeCompletedFuture { try configure(channel) }
                }
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw .portTaken("\(host):\(port)")
        } catch { throw .listen("\(host):\(port)", reason: "\(error)") }
    }

    private func configure(_ channel: any Channel) throws -> EventLoopFuture<Accepted> {
        if let source = channel.remoteAddress.flatMap(Self.address) {
            guard limits.open(from: source, now: .now()) else {
                channel.close(promise: nil)
                throw ChannelError.eof
            }
            let limits = limits
            channel.closeFuture.whenComplete { _ in limits.close(from: source, now: .now()) }
        }
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(NIOSSLServerHandler(context: context))
        let (counters, health) = (counters, health)
        let negotiation = NIOTypedApplicationProtocolNegotiationHandler<Accepted> { result, channel in
            channel.eventLoop.makeCompletedFuture {
                switch result {
                case .negotiated(HubLink.applicationProtocol):
                    return .agent(try Self.wrap(channel, counters))
                case .negotiated("http/1.1"), .fallback:
                    try Self.serveHealth(channel, health)
                    return .health
                case .negotiated(let other): throw HubError.tls("ALPN \(other)")
                }
            }
        }
        try pipeline.addHandler(negotiation)
        let deadline = channel.eventLoop.scheduleTask(in: Self.handshakeTimeout) { channel.close(promise: nil) }
        negotiation.protocolNegotiationResult.whenComplete { result in
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

    private static func serveHealth(_ channel: any Channel, _ health: @escaping @Sendable () -> String) throws {
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(withPipeliningAssistance: false)
        try channel.pipeline.syncOperations.addHandler(HealthHandler(state: health))
        // One question and its answer take no longer.
        let deadline = channel.eventLoop.scheduleTask(in: handshakeTimeout) { channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in deadline.cancel() }
    }

    private static func address(_ address: SocketAddress) -> IPAddress? { address.ipAddress.flatMap { IPAddress($0) } }
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
