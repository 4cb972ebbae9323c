import Addressing
import Glibc
import NIOCore
import NIOPosix
import Timing

/// A TCP port without TLS, for an ingress that ends TLS in front of the relay: HTTP/1.1 only.
///
/// All comes from the ingress, so that only the number of connections in all is limited. What agents send is sealed for each
/// other, and their proofs are bound to this relay; the ingress learns who talks to whom, as the relay does.
struct PlainListener: Sendable {
    let web: WebPort
    let limits: ConnectionLimits

    init(_ web: WebPort, total: Int) {
        self.web = web
        var bounds = ConnectionLimits.Bounds()
        bounds.total = total
        bounds.perSource = total
        bounds.new = TokenBucket.Limit(perSecond: 2000, burst: 4000)
        limits = ConnectionLimits(bounds)
    }

    func bind(_ endpoint: Endpoint, group: any EventLoopGroup) async throws(HubError) -> any Channel {
        let (web, limits) = (web, limits)
        do {
            return try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: TLSListener.backlog)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelOption(.writeBufferWaterMark, value: TLSListener.watermark)
                .childChannelOption(TLSListener.unsentLimit, value: TLSListener.unsentBytes)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try TLSListener.admit(channel, limits)
                        try web.configure(channel)
                    }
                }
                .bind(host: "\(endpoint.address)", port: Int(endpoint.port)).get()
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw .portTaken("\(endpoint)")
        } catch { throw .listen("\(endpoint)", reason: "\(error)") }
    }
}
