import Addressing
import Directory
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import Timing

@testable import Hub

extension TestHub {
    /// Serves as a relay; `body` gets the TLS and UDP ports.
    func servingRelay<Result: Sendable>(
        changing change: (inout HubServer.Options) -> Void = { _ in },
        _ body: @escaping @Sendable (UInt16, UInt16) async throws -> Result
    ) async throws -> Result {
        try await servingRelay(changing: change) { server in try await body(server.port, server.relayPort) }
    }

    func servingRelay<Result: Sendable>(
        changing change: (inout HubServer.Options) -> Void = { _ in },
        _ body: @escaping @Sendable (HubServer) async throws -> Result
    ) async throws -> Result {
        var options = HubServer.Options(
            roles: [.relay], listenHost: "127.0.0.1", listenPort: 0, relayListen: Endpoint("127.0.0.1:0")!)
        options.relayDrain = .zero
        change(&options)
        let server = try await HubServer(folder, options, logger: logger)
        return try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask {
                try await server.run()
                return nil
            }
            group.addTask { try await body(server) }
            defer { group.cancelAll() }
            while let result = try await group.next() { if let result { return result } }
            throw HubError.unhealthy("the server ended")
        }
    }
}

/// An HTTP proxy that knows CONNECT and Basic credentials, and no more.
final class TestProxy: Sendable {
    let port: UInt16
    private let channel: any Channel
    private let seen: Seen

    final class Seen: Sendable {
        let targets = Mutex<[String]>([])
    }

    var connects: [String] { seen.targets.withLock { $0 } }

    init(credentials: String) async throws {
        let seen = Seen()
        self.seen = seen
        let authorization = "Proxy-Authorization: Basic " + Base64.encode(Array(credentials.utf8))
        channel = try await ServerBootstrap(group: HubLink.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Connect(authorization, seen))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = UInt16(channel.localAddress?.port ?? 0)
    }

    func close() async throws { try await channel.close() }

    /// Reads the request's head, and passes bytes on after it.
    private final class Connect: ChannelInboundHandler, RemovableChannelHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let authorization: String
        private let seen: Seen
        private var head = ByteBuffer()
        private var other: (any Channel)?

        init(_ authorization: String, _ seen: Seen) {
            self.authorization = authorization
            self.seen = seen
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = unwrapInboundIn(data)
            if let other { return other.writeAndFlush(bytes, promise: nil) }
            head.writeBuffer(&bytes)
            let lines = String(buffer: head).split(separator: "\r\n", omittingEmptySubsequences: false)
            guard lines.count > 2, lines.suffix(2) == ["", ""] else { return }
            let words = lines[0].split(separator: " ")
            guard words.count == 3, words[0] == "CONNECT", let target = Endpoint(String(words[1])) else {
                return answer("400 Bad Request", context, close: true)
            }
            guard lines.contains(Substring(authorization)) else {
                return answer("407 Proxy Authentication Required", context, close: true)
            }
            seen.targets.withLock { $0.append(String(words[1])) }
            let channel = context.channel
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            ClientBootstrap(group: context.eventLoop)
                .channelInitializer { other in
                    other.eventLoop.makeCompletedFuture {
                        try other.pipeline.syncOperations.addHandler(PassOn(channel))
                    }
                }
                .connect(host: "\(target.address)", port: Int(target.port))
                .whenComplete { result in
                    let (handler, context) = bound.value
                    switch result {
                    case .success(let other):
                        handler.other = other
                        handler.answer("200 Connection established", context, close: false)
                    case .failure: handler.answer("502 Bad Gateway", context, close: true)
                    }
                }
        }

        func channelInactive(context: ChannelHandlerContext) { other?.close(promise: nil) }

        private func answer(_ status: String, _ context: ChannelHandlerContext, close: Bool) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "HTTP/1.1 \(status)\r\n\r\n")), promise: nil)
            if close { context.close(promise: nil) }
        }
    }
}

/// Writes all that it reads to another channel, and closes it at the end.
final class PassOn: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let other: any Channel

    init(_ other: any Channel) { self.other = other }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        other.writeAndFlush(unwrapInboundIn(data), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
}

/// Ends TLS with the hub's certificate, and passes what is inside on to a port without TLS.
final class TestIngress: Sendable {
    let port: UInt16
    private let channel: any Channel

    init(_ hub: TestHub, to target: UInt16) async throws {
        let tls = try hub.folder.loadTLS()
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(tls.certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: tls.key, format: .pem)))
        configuration.minimumTLSVersion = .tlsv13
        let context = try NIOSSLContext(configuration: configuration)
        channel = try await ServerBootstrap(group: HubLink.group)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in
                ClientBootstrap(group: channel.eventLoop)
                    .channelInitializer { other in
                        other.eventLoop.makeCompletedFuture {
                            try other.pipeline.syncOperations.addHandler(PassOn(channel))
                        }
                    }
                    .connect(host: "127.0.0.1", port: Int(target))
                    .flatMapThrowing { other in
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
                        try channel.pipeline.syncOperations.addHandler(PassOn(other))
                    }
                    .flatMap { channel.setOption(.autoRead, value: true) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = UInt16(channel.localAddress?.port ?? 0)
    }

    func close() async throws { try await channel.close() }
}

/// Passes bytes on to a port, and what comes back 16 KB at a time, 4 MB a second: a slow line.
final class TestSlowLine: Sendable {
    let port: UInt16
    private let channel: any Channel

    init(to target: UInt16) async throws {
        channel = try await ServerBootstrap(group: HubLink.group)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in
                ClientBootstrap(group: channel.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .channelOption(.maxMessagesPerRead, value: 1)
                    .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 16 << 10))
                    .channelOption(.socketOption(.so_rcvbuf), value: 64 << 10)
                    .channelInitializer { other in
                        other.eventLoop.makeCompletedFuture {
                            try other.pipeline.syncOperations.addHandler(PassOn(channel))
                        }
                    }
                    .connect(host: "127.0.0.1", port: Int(target))
                    .flatMapThrowing { other in
                        try channel.pipeline.syncOperations.addHandler(PassOn(other))
                        let ticks = other.eventLoop.scheduleRepeatedTask(
                            initialDelay: .zero, delay: .milliseconds(4)
                        ) { _ in other.read() }
                        other.closeFuture.whenComplete { _ in ticks.cancel() }
                    }
                    .flatMap { channel.setOption(.autoRead, value: true) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = UInt16(channel.localAddress?.port ?? 0)
    }

    func close() async throws { try await channel.close() }
}
