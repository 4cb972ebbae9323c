package import Injection
package import Logging
package import Metrics
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
package import Timing

/// The webhook's server: reviews over TLS, health and metrics on a plain port.
package final class InjectorServer: Sendable {
    package struct Options: Sendable {
        package var host = "0.0.0.0"
        /// 0 lets the kernel choose, for tests.
        package var port = 8443
        package var healthPort = 8080
        /// How long connections are still served once the process is told to end: until no API server calls it any more.
        package var drain: UInt64 = 5

        package init() {}
    }

    /// Where pods are reviewed that ask for the sidecar themselves, and those whose namespace does.
    package static let podPath = "/inject"
    package static let namespacePath = "/inject/namespace"
    /// The API server sends an object of at most 3 MiB, twice in an update.
    static let sizeLimit = 8 << 20
    private static let connectionLimit = 1024
    /// The API server closes connections that idle for 90 s; it must be the first to do so.
    private static let idleTimeout = TimeAmount.seconds(180)

    package let metrics = InjectorMetrics()
    package let identity: ServingIdentity
    /// Those that it listens on.
    package var port: Int { channels.withLock { $0[0].localAddress?.port ?? 0 } }
    package var healthPort: Int { channels.withLock { $0[1].localAddress?.port ?? 0 } }

    private let admission: Mutex<Admission>
    private let options: Options
    private let logger: Logger
    private let now: @Sendable () -> WallTime
    private let otherMetrics: @Sendable (inout Exposition) -> Void
    private let channels = Mutex<[any Channel]>([])
    private let open = Mutex(0)
    private let draining = Mutex(false)
    private let group = MultiThreadedEventLoopGroup.singleton

    package init(
        _ admission: Admission, identity: ServingIdentity, options: Options, logger: Logger,
        otherMetrics: @escaping @Sendable (inout Exposition) -> Void = { _ in },
        now: @escaping @Sendable () -> WallTime = { .now() }
    ) {
        self.admission = Mutex(admission)
        self.identity = identity
        self.options = options
        self.logger = logger
        self.now = now
        self.otherMetrics = otherMetrics
    }

    /// Reviews that come from now on are answered by another one.
    package func replace(_ admission: Admission) { self.admission.withLock { $0 = admission } }

    /// Binds both ports; requests are answered from then on.
    package func start() async throws(InjectorError) {
        let reviews = try await bind(options.port) { [self] channel in
            // Whoever comes before there is a certificate, or when there are too many, is turned away.
            guard let context = identity.context, admit(channel) else { throw ChannelError.eof }
            let tls = NIOSSLServerHandler(context: context)
            try channel.pipeline.syncOperations.addHandler(tls)
            try configure(channel) { [self] in answer($0, $1) }
        }
        let health: any Channel
        do {
            health = try await bind(options.healthPort) { [self] channel in
                try configure(channel) { [self] head, _ in self.health(head) }
            }
        } catch {
            try? await reviews.close()
            throw error
        }
        channels.withLock { $0 = [reviews, health] }
        logger.info("reviews: on, TLS \(options.host):\(port); health and metrics: on, \(options.host):\(healthPort)")
    }

    /// Serves until the task is cancelled; then goes on for as long as API servers may still call, and closes.
    package func run() async {
        while (try? await Task.sleep(nanoseconds: 3_600_000_000_000)) != nil {}
        draining.withLock { $0 = true }
        // By an event loop, as this task is cancelled: a sleep in it would end at once.
        let pause = group.next().scheduleTask(in: .seconds(Int64(options.drain))) {}
        try? await pause.futureResult.get()
        for channel in channels.withLock({ $0 }) { try? await channel.close() }
    }

    private func bind(
        _ port: Int, _ configure: @escaping @Sendable (any Channel) throws -> Void
    ) async throws(InjectorError) -> any Channel {
        do {
            return try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 256)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try configure(channel) }
                }
                .bind(host: options.host, port: port).get()
        } catch { throw .listen("\(options.host):\(port)", reason: "\(error)") }
    }

    private func admit(_ channel: any Channel) -> Bool {
        let isAdmitted = open.withLock {
            guard $0 < Self.connectionLimit else { return false }
            $0 += 1
            return true
        }
        if isAdmitted { channel.closeFuture.whenComplete { [self] _ in open.withLock { $0 -= 1 } } }
        return isAdmitted
    }

    private func configure(
        _ channel: any Channel, _ answer: @escaping @Sendable (HTTPRequestHead, [UInt8]) -> HTTPAnswer
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(IdleStateHandler(allTimeout: Self.idleTimeout))
        try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: true)
        try pipeline.addHandler(
            RequestHandler(
                sizeLimit: Self.sizeLimit, isDraining: { [self] in draining.withLock { $0 } }, answer: answer))
    }

    // MARK: - Answers

    private func answer(_ head: HTTPRequestHead, _ body: [UInt8]) -> HTTPAnswer {
        let start = MonotonicTime.now()
        let path = head.uri.prefix { $0 != "?" }
        guard path == Self.podPath || path == Self.namespacePath else {
            return .text(.notFound, "\(Self.podPath) and \(Self.namespacePath) are what there is")
        }
        guard head.method == .POST else { return .text(.methodNotAllowed, "only POST") }
        guard head.headers["content-type"].first?.lowercased().hasPrefix("application/json") == true else {
            return .text(.unsupportedMediaType, "only application/json")
        }
        let result = Result { () throws(AdmissionError) in
            try admission.withLock { $0 }.answer(body, isAskedFor: path == Self.namespacePath)
        }
        let seconds = MonotonicTime.now().since(start).seconds
        switch result {
        case .success(let answer):
            metrics.count(answer.outcome.rawValue, after: seconds)
            logger.info("\(answer.summary)")
            return HTTPAnswer(status: .ok, body: answer.body)
        case .failure(let error):
            metrics.count("malformed", after: seconds)
            logger.warning("\(error)")
            return .text(.badRequest, "\(error)")
        }
    }

    private func health(_ head: HTTPRequestHead) -> HTTPAnswer {
        switch (head.method, head.uri) {
        case (.GET, "/healthz"): return .text(.ok, "ok")
        case (.GET, "/readyz"):
            guard !draining.withLock({ $0 }) else { return .text(.serviceUnavailable, "ending") }
            guard identity.isValid(at: now()) else { return .text(.serviceUnavailable, "no valid certificate") }
            return .text(.ok, "ok")
        case (.GET, "/metrics"):
            return HTTPAnswer(
                status: .ok, type: Exposition.contentType, body: Array(metrics.text(identity, otherMetrics).utf8))
        default: return .text(.notFound, "/healthz, /readyz and /metrics are what there is")
        }
    }
}
