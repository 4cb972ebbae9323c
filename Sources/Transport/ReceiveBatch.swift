package import Addressing
import Glibc

/// What one `recvmsg` brought: one datagram, or with UDP_GRO several of one source and one size (the last may be shorter).
///
/// Valid until the batch's next `receive`. The bytes may be changed: packets are opened in place.
@safe
package struct ReceivedMessage {
    // Safe: a view of the batch's memory, which its documentation limits to the next receive.
    package let bytes: UnsafeMutableRawBufferPointer
    /// Bytes of each datagram but the last; at least 1.
    package let segmentSize: Int
    /// Where all of them came from.
    package let source: Endpoint
    /// When the kernel took it in, in nanoseconds of CLOCK_REALTIME; nil unless the socket has `enableTimestamps`.
    package let arrival: Int64?

    private var offset = 0

    init(_ bytes: UnsafeMutableRawBufferPointer, segmentSize: Int, source: Endpoint, arrival: Int64?) {
        unsafe self.bytes = unsafe bytes
        self.segmentSize = segmentSize
        self.source = source
        self.arrival = arrival
    }

    /// How many datagrams are in it.
    package var datagrams: Int { unsafe max(1, (bytes.count &+ segmentSize &- 1) / segmentSize) }

    /// The next datagram; nil after the last.
    @inline(__always)
    package mutating func next() -> UnsafeMutableRawBufferPointer? {
        guard unsafe offset < bytes.count else { return nil }
        let length = unsafe min(segmentSize, bytes.count &- offset)
        let datagram = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<(offset &+ length)])
        offset &+= length
        return unsafe datagram
    }
}

/// Datagrams as they come in: up to `capacity` messages with one `recvmmsg`, each in a buffer of its own.
///
/// Memory: `capacity` x 64 KiB mapped (1 MiB with 16), of which only what was ever filled is resident: a socket without
/// bulk traffic costs a page a message. One thread.
@safe
package struct ReceiveBatch: ~Copyable, Sendable {
    private let arena: Arena
    private let tables: MessageTables

    /// Messages of the last `receive`.
    package private(set) var count = 0
    /// Errors other than "nothing there" that receives met and went past.
    package private(set) var errors: UInt64 = 0

    /// Takes any datagram, and all that UDP_GRO joins.
    private static let bufferSize = 65536
    /// Not a multiple of the page size: else the first bytes of all buffers share one set of the cache.
    private static let stride = bufferSize + 320

    package init(messages capacity: Int = 16) throws(TransportError) {
        arena = try Arena(byteCount: capacity * Self.stride)
        tables = MessageTables(messages: capacity, controlSize: MessageTables.receivingControl)
        for index in 0..<capacity {
            unsafe tables.setBuffer(index, buffer(index))
            tables.lend(index)
        }
    }

    private func buffer(_ index: Int) -> UnsafeMutableRawBufferPointer {
        unsafe arena.bytes(at: index &* Self.stride, count: Self.bufferSize)
    }

    /// Takes what is there, at most `limit` messages and the batch's capacity, and returns how many; 0 when there is nothing
    /// now.
    package mutating func receive(from socket: borrowing UDPSocket) -> Int { receive(from: socket.raw) }

    /// The same for a descriptor of a `SocketTable`.
    package mutating func receive(from raw: Int32, limit: Int = .max) -> Int {
        for index in 0..<count { tables.lend(index) }
        count = raw < 0 ? 0 : tables.receive(min(limit, tables.capacity), from: raw, errors: &errors)
        return count
    }

    /// Message `index`, below `count`; nil for one without a usable source, cut short or empty.
    package borrowing func message(_ index: Int) -> ReceivedMessage? {
        precondition(index >= 0 && index < count)
        return unsafe tables.message(index, in: buffer(index))
    }
}
