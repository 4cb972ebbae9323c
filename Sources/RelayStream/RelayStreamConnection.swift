package import NIOCore
import NIOWebSocket
import Relay
import Synchronization

/// A stream to a relay: messages go out as WebSocket binary messages. Safe from any thread.
///
/// What can't be sent as fast as it comes waits, control ahead of data; beyond a megabyte the oldest data is dropped, as on
/// any link that is too slow.
package final class RelayStreamConnection: Sendable {
    package static let backlogLimit = 1 << 20
    /// After so many bytes there is a flush, at either end of a stream. TLS keeps what is written until then, and to the
    /// channel it is not there: `isWritable` stays true, and all that waits for its turn would go at once to where nothing
    /// overtakes it.
    package static let flushSize = 64 << 10

    private struct Outbox {
        var control: [ByteBuffer] = []
        var data: [ByteBuffer] = []
        /// The first of `data` that still waits.
        var head = 0
        var bytes = 0
        var isScheduled = false
        var dropped: UInt64 = 0
    }

    private let channel: any Channel
    private let outbox = Mutex(Outbox())

    init(_ channel: any Channel) { self.channel = channel }

    /// The loop that `receive` and `closed` are called on.
    package var eventLoop: any EventLoop { channel.eventLoop }
    /// Messages that were dropped because the connection was too slow.
    package var dropped: UInt64 { outbox.withLock { $0.dropped } }
    /// Bytes that wait.
    package var backlog: Int { outbox.withLock { $0.bytes } }

    /// Sends a message of whole frames (`StreamFrames`), at most `StreamFrames.maximumMessage` - 1 bytes.
    package func send(_ message: ByteBuffer, isControl: Bool = false) {
        guard (1..<StreamFrames.maximumMessage).contains(message.readableBytes) else { return }
        let isFirst = outbox.withLock { outbox -> Bool in
            if isControl { outbox.control.append(message) } else { outbox.data.append(message) }
            outbox.bytes += message.readableBytes
            while outbox.bytes > Self.backlogLimit, outbox.head < outbox.data.count {
                outbox.bytes -= outbox.data[outbox.head].readableBytes
                outbox.data[outbox.head] = ByteBuffer()
                outbox.head += 1
                outbox.dropped += 1
            }
            if outbox.isScheduled { return false }
            outbox.isScheduled = true
            return true
        }
        if isFirst { eventLoop.execute { self.drain() } }
    }

    /// Sends a message of this one frame.
    package func send(frame: [UInt8], isControl: Bool = true) {
        send(ByteBuffer(bytes: StreamFrames.message(frame)), isControl: isControl)
    }

    package func close() { channel.close(promise: nil) }

    /// On the event loop: writes what the connection takes, and goes on when it takes more.
    func drain() {
        var unflushed = 0
        while channel.isWritable {
            let next = outbox.withLock { outbox -> ByteBuffer? in
                if !outbox.control.isEmpty {
                    let message = outbox.control.removeFirst()
                    outbox.bytes -= message.readableBytes
                    return message
                }
                guard outbox.head < outbox.data.count else {
                    outbox.data.removeAll(keepingCapacity: true)
                    outbox.head = 0
                    outbox.isScheduled = false
                    return nil
                }
                let message = outbox.data[outbox.head]
                outbox.data[outbox.head] = ByteBuffer()
                outbox.head += 1
                outbox.bytes -= message.readableBytes
                if outbox.head >= 1024 {
                    outbox.data.removeFirst(outbox.head)
                    outbox.head = 0
                }
                return message
            }
            guard let next else { break }
            channel.write(ClientFrame.encode(.binary, next, channel.allocator), promise: nil)
            unflushed += next.readableBytes
            if unflushed >= Self.flushSize {
                unflushed = 0
                channel.flush()
            }
        }
        if unflushed > 0 { channel.flush() }
    }
}
