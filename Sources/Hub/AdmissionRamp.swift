import NIOCore
import Synchronization
import Timing

/// How fast new connections are taken in: so many handshakes at a time, and so many a second. Those beyond wait in the
/// kernel's backlog, where they cost nothing; after a relay's restart they come all at once.
///
/// Safe from any thread.
final class AdmissionRamp: Sendable {
    private struct State {
        var inFlight = 0
        var bucket: TokenBucket
    }

    private let atOnce: Int
    private let rate: TokenBucket.Limit
    private let state: Mutex<State>

    init(atOnce: Int, rate: TokenBucket.Limit, now: MonotonicTime) {
        self.atOnce = atOnce
        self.rate = rate
        state = Mutex(State(bucket: TokenBucket(full: rate, now: now)))
    }

    /// Whether another connection may be taken in now.
    func isOpen(now: MonotonicTime) -> Bool {
        state.withLock { $0.inFlight < atOnce && $0.bucket.take(1, limit: rate, now: now) }
    }

    /// A handshake has begun; `end` is called once when it is over.
    func begin() { state.withLock { $0.inFlight += 1 } }
    func end() { state.withLock { $0.inFlight -= 1 } }
}

/// In the listening channel: accepts only while the ramp is open.
final class AdmissionHandler: ChannelOutboundHandler {
    typealias OutboundIn = Never

    /// How long a closed ramp is left alone.
    private static let pause = TimeAmount.milliseconds(5)

    private let ramp: AdmissionRamp
    private var isPaused = false

    init(_ ramp: AdmissionRamp) { self.ramp = ramp }

    func read(context: ChannelHandlerContext) {
        guard !isPaused else { return }
        if ramp.isOpen(now: .now()) { return context.read() }
        isPaused = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.pause) {
            let (handler, context) = bound.value
            handler.isPaused = false
            handler.read(context: context)
        }
    }
}
