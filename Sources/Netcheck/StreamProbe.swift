package import Membership
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import Directory
package import PortMapping
package import Sodium
package import Timing

/// One TCP connection, perhaps through a proxy and with TLS, and at most one HTTP request on it: what comes of it, and how
/// long it takes.
///
/// With a pin, a server that presents another key is told from one that is out of reach; nothing is sent to it.
package struct StreamProbe: Sendable {
    package enum Failure: Equatable, Sendable {
        case refused, timeout
        case unreachable(String)
        /// DNS has no address for the name.
        case noAddress
        /// TLS by somebody who has not the pinned key.
        case intercepted(issuer: String, subject: String)
        /// What answers does not speak TLS, or ends the handshake.
        case notTLS(String)
        case proxyUnreachable(String)
        /// The proxy's status: 407 where it wants other credentials.
        case proxyRefused(Int)
    }

    package struct Outcome: Equatable, Sendable {
        package var failure: Failure?
        /// TCP's handshake, to the proxy if there is one.
        package var connected: Interval?
        /// Up to the connection being usable.
        package var ready: Interval?
        package var response: HTTPResponse?
    }

    package var target: HubAddress
    package var proxy: ProxyAddress?
    /// Nil: without TLS.
    package var pin: Bytes32?
    /// What to send once it is usable; nothing if nil.
    package var request: [UInt8]?
    package var timeout = Interval.seconds(4)

    package init(_ target: HubAddress, proxy: ProxyAddress? = nil, pin: Bytes32?, request: [UInt8]? = nil) {
        self.target = target
        self.proxy = proxy
        self.pin = pin
        self.request = request
    }

    /// A request for `path` that ends the connection.
    package static func get(_ path: String, host: String) -> [UInt8] {
        Array("GET \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\nUser-Agent: warren-netcheck\r\n\r\n".utf8)
    }

    package func run() async -> Outcome {
        let loop = HubLink.group.next()
        let run = ProbeRun(self, on: loop)
        loop.execute { run.start() }
        return (try? await run.promise.futureResult.get()) ?? Outcome(failure: .unreachable("cancelled"))
    }
}

/// One run; all of it on its event loop.
private final class ProbeRun: @unchecked Sendable {
    // Safe: everything but `promise` and `loop` is touched only on the loop.
    let promise: EventLoopPromise<StreamProbe.Outcome>
    let loop: any EventLoop
    private let probe: StreamProbe
    private let started = MonotonicTime.now()
    private var outcome = StreamProbe.Outcome()
    private var channel: (any Channel)?
    private var isOver = false
    private var presented: CertificateName?

    init(_ probe: StreamProbe, on loop: any EventLoop) {
        self.probe = probe
        self.loop = loop
        promise = loop.makePromise()
    }

    func start() {
        let nanoseconds = Int64(clamping: probe.timeout.nanoseconds)
        loop.scheduleTask(in: .nanoseconds(nanoseconds)) { self.finish(self.deadlineFailure) }
        let next = probe.proxy?.address ?? probe.target
        ClientBootstrap(group: loop)
            .connectTimeout(.nanoseconds(nanoseconds))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in channel.eventLoop.makeCompletedFuture { try self.configure(channel) } }
            .connect(host: next.host, port: Int(next.port))
            .whenComplete { result in
                switch result {
                case .success(let channel):
                    if self.isOver { channel.close(promise: nil) } else { self.channel = channel }
                case .failure(let error):
                    let failure = Self.failure(error)
                    self.finish(self.probe.proxy == nil ? failure : .proxyUnreachable(Self.words(failure)))
                }
            }
    }

    private func configure(_ channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(ConnectedHandler { self.outcome.connected = MonotonicTime.now().since(self.started) })
        if let proxy = probe.proxy {
            try pipeline.addHandler(
                TunnelHandler(proxy, to: probe.target) { status in
                    self.finish(status.map { .proxyRefused($0) } ?? .proxyUnreachable("its answer is not HTTP"))
                })
        }
        if let pin = probe.pin { try pipeline.addHandler(tls(pin)) }
        try pipeline.addHandler(
            CollectHandler(
                isSecure: probe.pin != nil, request: probe.request,
                ready: {
                    self.outcome.ready = MonotonicTime.now().since(self.started)
                    if self.probe.request == nil { self.finish(nil) }
                },
                read: { bytes, isEnded in self.collected(bytes, isEnded: isEnded) },
                failed: { self.failed($0) }))
    }

    private func tls(_ pin: Bytes32) throws -> NIOSSLClientHandler {
        var configuration = TLSConfiguration.makeClientConfiguration()
        // Below what a hub speaks, so that somebody in between who speaks only this can present himself.
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        // The pin decides, so that no certificate store is needed or asked.
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates([])
        configuration.shutdownTimeout = .milliseconds(200)
        let verify: NIOSSLCustomVerificationCallback = { certificates, promise in
            let isRight = certificates.first.flatMap { try? HubLink.pin(of: $0) } == pin
            let name = certificates.first.map(CertificateName.init)
            self.loop.execute {
                if !isRight { self.presented = name }
                promise.succeed(isRight ? .certificateVerified : .failed)
            }
        }
        let host = probe.target.host
        return try NIOSSLClientHandler(
            context: NIOSSLContext(configuration: configuration),
            serverHostname: host.contains(":") || host.last?.isNumber == true ? nil : host,
            customVerificationCallback: verify)
    }

    private func collected(_ bytes: [UInt8], isEnded: Bool) {
        switch HTTPResponse.read(bytes, isEnded: isEnded) {
        case .complete(let response):
            outcome.response = response
            finish(nil)
        case .malformed: finish(outcome.ready == nil ? ended : nil)
        case .incomplete: break
        }
    }

    /// The connection went before it was usable.
    private var ended: StreamProbe.Failure {
        if let presented { return .intercepted(issuer: presented.issuer, subject: presented.subject) }
        return probe.pin == nil ? .unreachable("the connection was closed") : .notTLS("it closed the connection")
    }

    private func failed(_ error: any Error) {
        if let presented { return finish(.intercepted(issuer: presented.issuer, subject: presented.subject)) }
        // After the answer a peer may end as it likes.
        if outcome.ready != nil { return finish(nil) }
        switch error {
        case is NIOSSLError, is BoringSSLError: finish(.notTLS("the TLS handshake failed"))
        default: finish(Self.failure(error))
        }
    }

    private var deadlineFailure: StreamProbe.Failure? {
        if outcome.ready != nil { return nil }
        return probe.proxy != nil && outcome.connected == nil ? .proxyUnreachable("no answer in time") : .timeout
    }

    private func finish(_ failure: StreamProbe.Failure?) {
        guard !isOver else { return }
        isOver = true
        outcome.failure = failure
        promise.succeed(outcome)
        channel?.close(promise: nil)
        channel = nil
    }

    private static func failure(_ error: any Error) -> StreamProbe.Failure {
        switch error {
        case let error as NIOConnectionError:
            guard let first = error.connectionErrors.first else { return .noAddress }
            return failure(first.error)
        case ChannelError.connectTimeout: return .timeout
        case let error as IOError where error.errnoCode == 111: return .refused
        case let error as IOError where error.errnoCode == 110: return .timeout
        case let error as IOError: return .unreachable(error.description)
        default: return .unreachable("\(error)")
        }
    }

    private static func words(_ failure: StreamProbe.Failure) -> String {
        switch failure {
        case .refused: "it refuses connections"
        case .timeout: "no answer in time"
        case .noAddress: "its name has no address in DNS"
        case .unreachable(let reason): reason
        default: "\(failure)"
        }
    }
}
