import Membership
package import NIOCore
import NIOHTTP1
import NIOSSL

/// A stream that is being opened. Its state is touched on its loop only.
///
/// A name with several addresses has a channel for each that is tried; what happens on those that are not selected is of no
/// importance.
package final class RelayStreamAttempt: @unchecked Sendable {
    // Safe: the variables are used on the loop alone; the rest does not change.
    package let connection: EventLoopFuture<RelayStreamConnection>
    private let promise: EventLoopPromise<RelayStreamConnection>
    private let loop: any EventLoop
    private let address: HubAddress
    private var channels: [any Channel] = []
    private var selected: ObjectIdentifier?
    /// What went wrong on a channel before it was selected.
    private var early: [ObjectIdentifier: RelayStreamError] = [:]
    private var isOver = false

    init(on loop: any EventLoop, _ address: HubAddress) {
        self.loop = loop
        self.address = address
        promise = loop.makePromise(of: RelayStreamConnection.self)
        connection = promise.futureResult
    }

    /// Ends it, unless the connection is there. From any thread.
    package func cancel() {
        loop.execute { self.fail(.cancelled) }
    }

    func add(_ channel: any Channel) { channels.append(channel) }

    /// The channel is the one that connected: false when it is of no use any more.
    func select(_ channel: any Channel) -> Bool {
        selected = ObjectIdentifier(channel)
        if isOver { channel.close(promise: nil) }
        if let error = early[ObjectIdentifier(channel)] { fail(error) }
        return !isOver
    }

    func succeed(_ connection: RelayStreamConnection) -> Bool {
        guard !isOver else { return false }
        isOver = true
        channels = []
        promise.succeed(connection)
        return true
    }

    func fail(_ error: RelayStreamError) {
        guard !isOver else { return }
        isOver = true
        promise.fail(error)
        for channel in channels { channel.close(promise: nil) }
        channels = []
    }

    func fail(_ error: RelayStreamError, on channel: any Channel) {
        if selected == ObjectIdentifier(channel) { return fail(error) }
        if early[ObjectIdentifier(channel)] == nil { early[ObjectIdentifier(channel)] = error }
    }

    /// What the connection's last handler saw.
    func fail(_ error: any Error, on channel: any Channel) {
        let reason =
            switch error {
            case is NIOSSLError, is BoringSSLError: "TLS handshake failed"
            case let error as IOError: error.description
            default: "\(error)"
            }
        fail(.unreachable(address, reason: reason), on: channel)
    }
}

/// Until the upgrade: a response other than 101, an error, or an end is why there is no stream.
final class RefusalHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias InboundOut = Never

    private let address: HubAddress
    private let attempt: RelayStreamAttempt

    init(_ address: HubAddress, _ attempt: RelayStreamAttempt) {
        self.address = address
        self.attempt = attempt
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) {
            attempt.fail(RelayStreamError.notUpgraded(address, status: Int(head.status.code)), on: context.channel)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        attempt.fail(error, on: context.channel)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        attempt.fail(RelayStreamError.unreachable(address, reason: "the connection was closed"), on: context.channel)
        context.fireChannelInactive()
    }
}
