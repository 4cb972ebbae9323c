import Directory
package import Membership
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
package import Sodium

/// Asks a hub for its health as a probe would, with the TLS key pinned.
package enum HealthCheck {
    /// The JSON of `GET /healthz`.
    ///
    /// - Throws: `.unhealthy` when there is no connection or no 200 within 10 s.
    package static func ask(_ address: HubAddress, pin: Bytes32) async throws(HubError) -> String {
        do {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv13
            configuration.applicationProtocols = ["http/1.1"]
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = .certificates([])
            let context = try NIOSSLContext(configuration: configuration)
            let channel = try await ClientBootstrap(group: HubLink.group)
                .connectTimeout(.seconds(5))
                .connect(host: address.host, port: Int(address.port)) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        let verification: NIOSSLCustomVerificationCallback = { certificates, promise in
                            let isRight = certificates.first.flatMap { try? HubLink.pin(of: $0) } == pin
                            promise.succeed(isRight ? .certificateVerified : .failed)
                        }
                        try pipeline.addHandler(
                            NIOSSLClientHandler(
                                context: context, serverHostname: nil, customVerificationCallback: verification))
                        try pipeline.addHTTPClientHandlers()
                        return try NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>(
                            wrappingChannelSynchronously: channel)
                    }
                }
            let deadline = channel.channel.eventLoop.scheduleTask(in: .seconds(5)) {
                channel.channel.close(promise: nil)
            }
            defer { deadline.cancel() }
            return try await channel.executeThenClose { inbound, outbound in
                let head = HTTPRequestHead(
                    version: .http1_1, method: .GET, uri: "/healthz", headers: ["Host": address.description])
                // At once: a request without a body is complete with its head, and its answer closes the connection.
                try await outbound.write(contentsOf: [.head(head), .end(nil)])
                var body = ByteBuffer()
                var status: HTTPResponseStatus?
                for try await part in inbound {
                    switch part {
                    case .head(let head): status = head.status
                    case .body(var part): if body.readableBytes < 65536 { body.writeBuffer(&part) }
                    case .end:
                        guard status == .ok else { throw HubError.unhealthy("\(address) answers \(status?.code ?? 0)") }
                        return String(buffer: body).filter { $0 != "\n" }
                    }
                }
                throw HubError.unhealthy("\(address) does not answer")
            }
        } catch let error as HubError { throw error } catch { throw .unhealthy("\(address): \(error)") }
    }
}
