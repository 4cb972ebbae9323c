package import Addressing

/// Datagrams on their way out: laid out one behind the other as they are sealed, then sent with few system calls.
///
/// `reserve` lends the memory behind the last datagram, `commit` makes what was written there a datagram. Successive
/// datagrams of one size through one socket to one endpoint (the last may be shorter) become one message of a
/// `BorrowedSendBatch`, which `flush` sends.
///
/// Memory: the arena (256 KiB, of which what was used is resident) and 20 KiB of tables, once. One thread.
package struct SendBatch: ~Copyable, Sendable {
    private let arena: Arena
    private var queue: BorrowedSendBatch
    /// Bytes of the arena that hold datagrams.
    private var used = 0
    /// The last message, as long as another datagram may join it.
    private var open = OpenMessage()

    private struct OpenMessage {
        /// None larger may join; none at all with 0.
        var segmentSize = 0
        var socket: UInt8 = 0
        /// How many more bytes may join.
        var room = 0
        var endpoint = Endpoint(.v4(.any), port: 0)
    }

    package init(byteCount: Int = 256 << 10, messages capacity: Int = 128) throws(TransportError) {
        arena = try Arena(byteCount: byteCount)
        queue = BorrowedSendBatch(messages: capacity)
    }

    package var isEmpty: Bool { queue.isEmpty }
    /// Bytes committed and not sent.
    package var pendingBytes: Int { queue.pendingBytes }
    /// Messages (not datagrams) committed and not sent.
    package var pendingMessages: Int { queue.pendingMessages }

    /// `maximum` bytes to write the next datagram to; nil when a flush must make room first.
    @inline(__always)
    package borrowing func reserve(_ maximum: Int) -> UnsafeMutableRawBufferPointer? {
        guard maximum <= arena.count &- used, !queue.isFull else { return nil }
        return unsafe arena.bytes(at: used, count: maximum)
    }

    /// Makes the first `length` bytes of what `reserve` lent a datagram. An empty one is ignored.
    package mutating func commit(_ length: Int, to endpoint: Endpoint, socket: UInt8) {
        precondition(length >= 0 && length <= arena.count &- used && !queue.isFull)
        guard length > 0 else { return }
        if length <= open.segmentSize, length <= open.room, open.socket == socket, open.endpoint == endpoint {
            queue.extend(by: length)
            open.room &-= length
            if length < open.segmentSize { open.segmentSize = 0 }
        } else {
            unsafe queue.append(
                arena.bytes(at: used, count: length), segmentSize: length, to: endpoint, socket: socket)
            let limit = min(BorrowedSendBatch.maximumMessageLength, BorrowedSendBatch.maximumSegments &* length)
            open = OpenMessage(
                segmentSize: queue.segments(socket) ? length : 0, socket: socket, room: limit &- length,
                endpoint: endpoint)
        }
        used &+= length
    }

    /// Sends what was committed, in order. Once all is sent, the memory is free again.
    ///
    /// Datagrams for a socket that `sockets` does not have are dropped.
    package mutating func flush(through sockets: SocketTable) -> BorrowedSendBatch.Sent {
        let sent = queue.flush(through: sockets)
        if queue.isEmpty { reset() }
        return sent
    }

    /// Forgets everything not sent.
    package mutating func discard() {
        queue.discard()
        reset()
    }

    private mutating func reset() {
        used = 0
        open.segmentSize = 0
    }

    /// Whether datagrams through `socket` may be joined.
    package func segments(_ socket: UInt8) -> Bool { queue.segments(socket) }

    /// Joins no datagrams through `socket` from now on, or does again (a socket was replaced).
    package mutating func setSegmentation(_ isOn: Bool, socket: UInt8) {
        queue.setSegmentation(isOn, socket: socket)
    }
}
