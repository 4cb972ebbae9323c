package import Membership
package import NIOCore
package import NIOPosix
package import NIOSSL
import NIOTLS
package import Sodium
import Synchronization

/// Makes TLS connections to hubs, through an HTTP proxy if there is one: TLS 1.3 only, ALPN `warren/1`, the server's key
/// pinned. There is no way to leave the verification out.
package struct HubLink: Sendable {
    /// The protocol's name in ALPN (RFC 7301).
    package static let applicationProtocol = "warren/1"
    /// For name resolution and TCP, and again for TLS.
    package static let connectTimeout = TimeAmount.seconds(10)
    /// One thread is enough for what an agent says to its hub.
    package static let group: any EventLoopGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    package typealias Connection = NIOAsyncChannel<Message, Message>

    private let address: HubAddress
    private let pin: Bytes32
    private let proxy: HTTPProxy?
    private let context: NIOSSLContext
    private let group: any EventLoopGroup
    private let counters: FrameCounters

    package init(
        to address: HubAddress, pin: Bytes32, proxy: HTTPProxy? = nil, group: any EventLoopGroup = HubLink.group,
        counters: FrameCounters = FrameCounters()
    ) throws(DirectoryError) {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv13
        configuration.applicationProtocols = [Self.applicationProtocol]
        // The pin decides (`verify` below), so that no certificate store is needed or asked.
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates([])
        // A hub that is gone does not answer a goodbye, and an agent that ends must not wait for it.
        configuration.shutdownTimeout = .milliseconds(500)
        do { context = try NIOSSLContext(configuration: configuration) } catch {
            throw .unreachable(address, reason: "TLS configuration: \(error)")
        }
        self.address = address
        self.pin = pin
        self.proxy = proxy
        self.group = group
        self.counters = counters
    }

    /// BLAKE2b-256 of the certificate's SubjectPublicKeyInfo (DER): it stays when a certificate is renewed with its key.
    package static func pin(of certificate: NIOSSLCertificate) throws -> Bytes32 {
        let key = try certificate.extractPublicKey().toSPKIBytes()
        return Bytes32(Blake2b.hash(key)) ?? .zero
    }

    private typealias Negotiation = NIOTypedApplicationProtocolNegotiationHandler<Connection>

    /// Returns at once when the task is cancelled, however long name resolution and the server take.
    package func connect() async throws(DirectoryError) -> Connection {
        let attempt = Attempt()
        let loop = group.next()
        let promise = loop.makePromise(of: Connection.self)
        do {
            return try await withTaskCancellationHandler {
                start(attempt, on: loop).cascade(to: promise)
                return try await promise.futureResult.get()
            } onCancel: {
                attempt.isAbandoned.set()
                // On the loop, where no connection is made between the two.
                loop.execute { promise.fail(CancellationError()) }
            }
        } catch let error as DirectoryError {
            throw error
        } catch {
            if attempt.isWrongPin.isSet { throw .wrongPin(address) }
            throw .unreachable(address, reason: reason(error, attempt))
        }
    }

    private func reason(_ error: any Error, _ attempt: Attempt) -> String {
        if let failure = attempt.proxyFailure.withLock({ $0 }) { return failure.description }
        guard let proxy, !attempt.isConnected.isSet else { return Self.reason(error) }
        return ProxyError.unreachable(proxy.address, reason: Self.reason(error)).description
    }

    private func start(_ attempt: Attempt, on loop: any EventLoop) -> EventLoopFuture<Connection> {
        let next = proxy?.address ?? address
        return ClientBootstrap(group: loop)
            .connectTimeout(Self.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try configure(channel, attempt) }
            }
            .connect(to: next)
            .flatMap { channel in
                attempt.isConnected.set()
                return attempt.negotiation(on: channel, loop)
            }
    }

    private func configure(_ channel: any Channel, _ attempt: Attempt) throws {
        let (pin, counters) = (pin, counters)
        let verify: NIOSSLCustomVerificationCallback = { certificates, promise in
            let isRight = certificates.first.flatMap { try? Self.pin(of: $0) } == pin
            if !isRight { attempt.isWrongPin.set() }
            promise.succeed(isRight ? .certificateVerified : .failed)
        }
        let name = address.host.contains(":") || address.host.last?.isNumber == true ? nil : address.host
        let pipeline = channel.pipeline.syncOperations
        if let proxy {
            let tunnel = ProxyConnectHandler(proxy, to: address) { error in
                attempt.proxyFailure.withLock { $0 = error }
            }
            try pipeline.addHandler(tunnel)
        }
        try pipeline.addHandler(
            NIOSSLClientHandler(context: context, serverHostname: name, customVerificationCallback: verify))
        let negotiation = Negotiation { result, channel in
            channel.eventLoop.makeCompletedFuture {
                do {
                    if attempt.isAbandoned.isSet { throw CancellationError() }
                    guard case .negotiated(Self.applicationProtocol) = result else {
                        throw DirectoryError.protocolViolation("no ALPN \(Self.applicationProtocol)")
                    }
                    return try Self.wrap(channel, counters: counters)
                } catch {
                    channel.close(promise: nil)
                    throw error
                }
            }
        }
        try pipeline.addHandler(negotiation)
        attempt.begin(negotiation.protocolNegotiationResult, on: channel)
        let deadline = channel.eventLoop.scheduleTask(in: Self.connectTimeout) { channel.close(promise: nil) }
        negotiation.protocolNegotiationResult.whenComplete { _ in deadline.cancel() }
    }

    private static func wrap(_ channel: any Channel, counters: FrameCounters) throws -> Connection {
        try channel.pipeline.syncOperations.addHandlers([
            IdleStateHandler(readTimeout: .seconds(75), writeTimeout: .seconds(25)),
            ByteToMessageHandler(MessageDecoder(counters: counters)), MessageToByteHandler(MessageEncoder()),
            KeepaliveHandler(),
        ])
        return try NIOAsyncChannel(wrappingChannelSynchronously: channel)
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            if let failure = error.connectionErrors.first { return reason(failure.error) }
            return "\(error.host) has no address in DNS"
        case ChannelError.connectTimeout: return "no answer within 10 s"
        case let error as IOError: return error.description
        case is NIOSSLError, is BoringSSLError: return "TLS handshake failed"
        default: return "\(error)"
        }
    }

    /// What is found out about one connection while it is made.
    private final class Attempt: Sendable {
        let isWrongPin = Flag()
        let isAbandoned = Flag()
        /// TCP's handshake is done, with the proxy if there is one.
        let isConnected = Flag()
        let proxyFailure = Mutex<ProxyError?>(nil)
        /// By channel, of which there is one an address that is tried. Kept here, because the handler leaves its pipeline
        /// with the end of the negotiation, which may come before the connection is known to be made.
        private let negotiations = Mutex<[ObjectIdentifier: EventLoopFuture<Connection>]>([:])

        func begin(_ negotiation: EventLoopFuture<Connection>, on channel: any Channel) {
            negotiations.withLock { $0[ObjectIdentifier(channel)] = negotiation }
        }

        func negotiation(on channel: any Channel, _ loop: any EventLoop) -> EventLoopFuture<Connection> {
            negotiations.withLock { $0[ObjectIdentifier(channel)] } ?? loop.makeFailedFuture(ChannelError.eof)
        }
    }

    private final class Flag: Sendable {
        private let value = Atomic(false)
        var isSet: Bool { value.load(ordering: .acquiring) }
        func set() { value.store(true, ordering: .releasing) }
    }
}

extension ClientBootstrap {
    /// Connects to a name, or to an address, which needs no resolver and no thread for it.
    package func connect(to address: HubAddress) -> EventLoopFuture<any Channel> {
        if let target = try? SocketAddress(ipAddress: address.host, port: Int(address.port)) {
            return connect(to: target)
        }
        return connect(host: address.host, port: Int(address.port))
    }
}

/// Sends a ping when the connection has been quiet for a while, and closes it when the other side has.
final class KeepaliveHandler: ChannelInboundHandler {
    typealias InboundIn = Message
    typealias InboundOut = Message
    typealias OutboundOut = Message

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case IdleStateHandler.IdleStateEvent.write:
            context.writeAndFlush(wrapOutboundOut(.ping(0)), promise: nil)
        case IdleStateHandler.IdleStateEvent.read: context.close(promise: nil)
        default: context.fireUserInboundEventTriggered(event)
        }
    }
}
