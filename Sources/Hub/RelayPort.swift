import NIOCore
import Relay
import Synchronization
import Timing

/// The way out to one stream: a fair queue of what others send to its agent, with control ahead. Any thread delivers; the
/// stream's handler, on its event loop, takes.
final class RelayPort: Sendable {
    /// Why the relay ends a stream, in the close frame (RFC 6455 7.4.2: 4000…4999 are private).
    enum Ending: UInt16, Sendable {
        /// The agent registered elsewhere, or its registration expired.
        case replaced = 4001
        case notRegistered = 4002
        case shutdown = 1001
    }

    /// What the handler has to do.
    enum Wish: Sendable {
        case drain
        case close(Ending)
    }

    private struct Outbound {
        var control: [[UInt8]] = []
        var data: FairQueue<ByteBuffer>
        /// Taken from the queue, and too much for the portion before.
        var held: ByteBuffer?
        var isScheduled = false
    }

    let link: RelayLink
    private let channel: any Channel
    private let outbound: Mutex<Outbound>

    init(_ link: RelayLink, _ channel: any Channel) {
        self.link = link
        self.channel = channel
        var configuration = FairQueue<ByteBuffer>.Configuration()
        configuration.quantum = RelaySwitch.portionSize
        configuration.flowLimit = 512 << 10
        configuration.totalLimit = 2 << 20
        outbound = Mutex(Outbound(data: FairQueue(configuration)))
    }

    /// Queues whole frames with their lengths, from one sender.
    func deliver(_ frames: ByteBuffer, flow: Int, now: MonotonicTime) {
        let isFirst = outbound.withLock { outbound -> Bool in
            outbound.data.append(frames, cost: frames.readableBytes + 64, flow: flow, now: now)
            _ = outbound.data.takeDropped()
            return Self.schedule(&outbound)
        }
        if isFirst { wish(.drain) }
    }

    /// Queues a frame of the relay itself.
    func deliver(control frame: [UInt8]) {
        let isFirst = outbound.withLock { outbound -> Bool in
            outbound.control.append(StreamFrames.message(frame))
            return Self.schedule(&outbound)
        }
        if isFirst { wish(.drain) }
    }

    func close(_ ending: Ending) { wish(.close(ending)) }

    /// The next portion to send, with `headroom` free bytes in front; nil when nothing waits, after which the next delivery
    /// makes a wish again.
    func next(headroom: Int, now: MonotonicTime) -> ByteBuffer? {
        outbound.withLock { outbound in
            defer { _ = outbound.data.takeDropped() }
            if !outbound.control.isEmpty {
                let messages = outbound.control.flatMap(\.self)
                outbound.control = []
                var portion = Self.buffer(channel.allocator, headroom, messages.count)
                portion.writeBytes(messages)
                return portion
            }
            guard let first = outbound.held ?? outbound.data.popFirst(now: now) else {
                outbound.isScheduled = false
                return nil
            }
            outbound.held = nil
            var portion = Self.buffer(channel.allocator, headroom, max(RelaySwitch.portionSize, first.readableBytes))
            portion.writeImmutableBuffer(first)
            while let more = outbound.data.popFirst(now: now) {
                guard portion.readableBytes + more.readableBytes <= RelaySwitch.portionSize else {
                    outbound.held = more
                    break
                }
                portion.writeImmutableBuffer(more)
            }
            return portion
        }
    }

    /// Messages that were dropped because the stream was too slow.
    var drops: UInt64 { outbound.withLock { $0.data.drops } }

    /// What waits, by its weight.
    var queued: Int { outbound.withLock { $0.data.weight } }

    private static func buffer(_ allocator: ByteBufferAllocator, _ headroom: Int, _ capacity: Int) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: headroom + capacity)
        buffer.moveWriterIndex(to: headroom)
        buffer.moveReaderIndex(to: headroom)
        return buffer
    }

    private static func schedule(_ outbound: inout Outbound) -> Bool {
        if outbound.isScheduled { return false }
        outbound.isScheduled = true
        return true
    }

    private func wish(_ wish: Wish) {
        let channel = channel
        channel.eventLoop.execute { channel.pipeline.fireUserInboundEventTriggered(wish) }
    }
}
