import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// One request over a TLS connection of its own, verified against the cluster's authorities. Few calls are made, and a
/// watch holds its connection anyway, so that none is kept for the next.
struct HTTPExchange: Sendable {
    private static let connectTimeout = TimeAmount.seconds(10)
    static let group = MultiThreadedEventLoopGroup.singleton

    struct Request: Sendable {
        var method: HTTPMethod
        var uri: String
        var token: String
        var contentType = "application/json"
        var body: [UInt8] = []
        /// How long the server may be silent.
        var idle = TimeAmount.seconds(30)
    }

    let host: String
    let port: Int
    private let context: NIOSSLContext

    init(_ configuration: ClusterConfiguration) throws(KubernetesError) {
        host = configuration.host
        port = configuration.port
        do {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.minimumTLSVersion = .tlsv12
            tls.applicationProtocols = ["http/1.1"]
            tls.trustRoots = .certificates(
                try NIOSSLCertificate.fromPEMBytes(Array(configuration.authorities.utf8)))
            // The answer is complete when it says so; nobody waits for a goodbye.
            tls.shutdownTimeout = .milliseconds(500)
            context = try NIOSSLContext(configuration: tls)
        } catch { throw .configuration("ca.crt: \(error)") }
    }

    /// Sends `request` and gives the answer's head, then its body in pieces, until `body` returns false or it ends.
    func run(
        _ request: Request, head onHead: (HTTPResponseHead) throws(KubernetesError) -> Void,
        body onBody: ([UInt8]) async throws(KubernetesError) -> Bool
    ) async throws(KubernetesError) {
        do {
            let channel = try await connect(request.idle)
            try await channel.executeThenClose { inbound, outbound in
                try await outbound.write(contentsOf: parts(of: request))
                for try await part in inbound {
                    switch part {
                    case .head(let head): try onHead(head)
                    case .body(let buffer): guard try await onBody(Array(buffer.readableBytesView)) else { return }
                    case .end: return
                    }
                }
                throw KubernetesError.unreachable("\(request.uri): the connection ended before the answer")
            }
        } catch let error as KubernetesError { throw error } catch {
            throw .unreachable("\(host):\(port)\(request.uri): \(error)")
        }
    }

    private func parts(of request: Request) -> [HTTPClientRequestPart] {
        var headers: HTTPHeaders = [
            "Host": host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)", "Accept": "application/json",
            "Authorization": "Bearer \(request.token)", "User-Agent": "warren", "Connection": "close",
        ]
        if !request.body.isEmpty {
            headers.add(name: "Content-Type", value: request.contentType)
            headers.add(name: "Content-Length", value: "\(request.body.count)")
        }
        let head = HTTPRequestHead(version: .http1_1, method: request.method, uri: request.uri, headers: headers)
        let body: [HTTPClientRequestPart] =
            request.body.isEmpty ? [] : [.body(.byteBuffer(ByteBuffer(bytes: request.body)))]
        return [.head(head)] + body + [.end(nil)]
    }

    private typealias Connection = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>

    private func connect(_ idle: TimeAmount) async throws -> Connection {
        // A certificate for an address is checked against the address that we are connected to.
        let isAddress = (try? SocketAddress(ipAddress: host, port: port)) != nil
        return try await ClientBootstrap(group: Self.group)
            .connectTimeout(min(Self.connectTimeout, idle))
            .connect(host: host, port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host))
                    try pipeline.addHandler(IdleStateHandler(readTimeout: idle))
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(IdleCloser())
                    return try Connection(wrappingChannelSynchronously: channel)
                }
            }
    }
}

/// Ends a connection on which nothing has come for the idle timeout.
private final class IdleCloser: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias InboundOut = HTTPClientResponsePart

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }
}
