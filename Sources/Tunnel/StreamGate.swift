package import Linux
import Synchronization

/// Where a tunnel meets the streams that some of its relays are reached by: relay data goes out and in as messages, without
/// a system call between.
///
/// A message is any number of frames, each as in a datagram and after its length (2 bytes, network order). What goes out is
/// handed over by whichever thread sealed it; what came in waits here for the thread that reads the sockets. Safe from any
/// thread.
package final class StreamGate: Sendable {
    /// Takes a message for the relay of that index.
    package typealias Outlet = @Sendable (_ message: [UInt8], _ relay: UInt8) -> Void

    /// What waits at most; more is dropped, as by a socket whose buffer is full.
    package static let limit = 4 << 20
    /// Outgoing messages are at most this long.
    package static let messageSize = 32 << 10

    private struct Inbox {
        var messages: [StreamMessage] = []
        var bytes = 0
    }

    let outlet: Outlet
    /// Readable while messages wait.
    let event: EventFD
    private let inbox = Mutex(Inbox())
    private let drops = Atomic<UInt64>(0)

    package init(outlet: @escaping Outlet) throws(SystemError) {
        let event = try EventFD()
        self.outlet = outlet
        self.event = event
    }

    /// Messages that came in and found no room.
    package var dropped: UInt64 { drops.load(ordering: .relaxed) }

    /// A message has come from the stream of relay `relay`. Frames in it that are not relay data are passed over.
    package func receive(_ bytes: UnsafeRawBufferPointer, relay: UInt8) {
        let message = unsafe StreamMessage(copying: bytes, relay: relay)
        let isFirst: Bool? = inbox.withLock { inbox in
            guard inbox.bytes + bytes.count <= Self.limit else { return nil }
            inbox.messages.append(message)
            inbox.bytes += bytes.count
            return inbox.messages.count == 1
        }
        switch isFirst {
        case true?: event.signal()
        case false?: break
        case nil: drops.add(1, ordering: .relaxed)
        }
    }

    /// Takes all that waits.
    func take() -> [StreamMessage] {
        event.drain()
        return inbox.withLock { inbox in
            defer { inbox = Inbox() }
            return inbox.messages
        }
    }
}

/// A message from a stream, in memory of its own: packets are opened in place.
@safe
final class StreamMessage: @unchecked Sendable {
    // Safe: the memory is allocated and freed with it. One thread makes it and one reads it; a lock is between the two.
    let relay: UInt8
    private let bytes: UnsafeMutableRawBufferPointer
    private let count: Int
    private var offset = 0

    init(copying source: UnsafeRawBufferPointer, relay: UInt8) {
        self.relay = relay
        count = source.count
        unsafe bytes = .allocate(byteCount: source.count, alignment: 16)
        unsafe bytes.copyMemory(from: source)
    }

    deinit { unsafe bytes.deallocate() }

    /// The next frame, valid as long as the message; nil at the end, and where what follows is no frame.
    func next() -> UnsafeMutableRawBufferPointer? {
        guard count &- offset > 2 else { return nil }
        let length = unsafe Int(bytes[offset]) << 8 | Int(bytes[offset &+ 1])
        let start = offset &+ 2
        guard length > 0, length <= count &- start else { return nil }
        offset = start &+ length
        return unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[start..<offset])
    }
}

/// Relay data on its way to a stream, gathered into a message. One thread.
struct StreamRun {
    private var message: [UInt8] = []
    private var relay: UInt8 = 0
    /// The size of the last message, and probably of the next.
    private var usual = 0

    /// Adds a frame of at most 65,535 bytes; hands over what would become too long, or is for another relay.
    mutating func add(_ frame: UnsafeRawBufferPointer, relay: UInt8, to gate: StreamGate) {
        let isFull = message.count &+ frame.count &+ 2 > StreamGate.messageSize
        if !message.isEmpty, isFull || relay != self.relay { flush(to: gate) }
        if message.isEmpty { message.reserveCapacity(max(usual, frame.count &+ 2)) }
        self.relay = relay
        message.append(UInt8(truncatingIfNeeded: frame.count &>> 8))
        message.append(UInt8(truncatingIfNeeded: frame.count))
        unsafe message.append(contentsOf: frame)
    }

    mutating func flush(to gate: StreamGate?) {
        guard !message.isEmpty else { return }
        usual = message.count
        gate?.outlet(message, relay)
        message = []
    }
}
