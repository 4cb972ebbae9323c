import Addressing
import NIOCore
import NIOHTTP1
import NIOWebSocket
import Relay
import RelayStream
import Timing

/// What the hub serves over HTTP/1.1, on its TLS port and on a plain one behind an ingress: health, and the relay's streams.
struct WebPort: Sendable {
    /// For a request, and until the upgrade.
    static let requestTimeout = TimeAmount.seconds(10)

    let health: @Sendable () -> String
    /// On a port of its own only: nil on those that agents reach.
    var metrics: (@Sendable () -> String)?
    /// Nil where there is no relay.
    var exchange: RelaySwitch?
    /// How many streams there may be that have not registered.
    static let unregisteredLimit = 2048

    let clock: @Sendable () -> (MonotonicTime, WallTime)

    init(health: @escaping @Sendable () -> String, exchange: RelaySwitch?, now: @escaping @Sendable () -> WallTime) {
        self.health = health
        self.exchange = exchange
        clock = { (.now(), now()) }
    }

    /// Adds the handlers; on the channel's loop.
    func configure(_ channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        let answer = HealthHandler(state: health, metrics: metrics)
        let loop = channel.eventLoop
        let deadline = loop.scheduleTask(in: Self.requestTimeout) { channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in deadline.cancel() }
        let source = channel.remoteAddress.flatMap(TLSListener.endpoint)
        guard let exchange, let source else {
            try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false)
            return try pipeline.addHandler(answer)
        }
        let bound = NIOLoopBound(answer, eventLoop: loop)
        let clock = clock
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: StreamFrames.maximumMessage, automaticErrorHandling: false,
            shouldUpgrade: { channel, head in
                let isWanted =
                    RelayUpgrade.isRequested(by: head) && exchange.unregisteredStreams < Self.unregisteredLimit
                let headers: HTTPHeaders? = isWanted ? ["Sec-WebSocket-Protocol": RelayUpgrade.subprotocol] : nil
                return channel.eventLoop.makeSucceededFuture(headers)
            },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    deadline.cancel()
                    let pipeline = channel.pipeline.syncOperations
                    pipeline.removeHandler(bound.value, promise: nil)
                    try pipeline.addHandler(
                        RelayStreamHandler(exchange, hello: RelayUpgrade.hello(in: head), from: source, clock: clock))
                }
            })
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withServerUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
        try pipeline.addHandler(answer)
    }
}
