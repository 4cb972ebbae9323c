package import Addressing
import CLinux
import Glibc
package import Linux

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
package struct ReceiveBatch: ~Copyable, @unchecked Sendable {
    // Safe: all tables have `capacity` entries, allocated here and freed in deinit; `count` never passes it. Used by one
    // thread at a time, hence Sendable.
    private let arena: Arena
    private let capacity: Int
    private let headers: UnsafeMutablePointer<CLinux_mmsghdr>
    private let parts: UnsafeMutablePointer<iovec>
    private let names: UnsafeMutableRawPointer
    private let controls: UnsafeMutableRawPointer

    /// Messages of the last `receive`.
    package private(set) var count = 0
    /// Errors other than "nothing there" that receives met and went past.
    package private(set) var errors: UInt64 = 0
    package private(set) var lastError: Errno?

    /// Takes any datagram, and all that UDP_GRO joins.
    private static let bufferSize = 65536
    /// Not a multiple of the page size: else the first bytes of all buffers share one set of the cache.
    private static let stride = bufferSize + 320
    private static let nameStride = 32
    private static let controlStride = 64

    package init(messages capacity: Int = 16) throws(TransportError) {
        self.capacity = capacity
        arena = try Arena(byteCount: capacity * Self.stride)
        unsafe headers = .allocate(capacity: capacity)
        unsafe parts = .allocate(capacity: capacity)
        unsafe names = .allocate(byteCount: capacity * Self.nameStride, alignment: 16)
        unsafe controls = .allocate(byteCount: capacity * Self.controlStride, alignment: 16)
        unsafe headers.initialize(repeating: CLinux_mmsghdr(), count: capacity)
        unsafe parts.initialize(repeating: iovec(), count: capacity)
        unsafe names.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.nameStride)
        unsafe controls.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.controlStride)
        for index in 0..<capacity {
            let buffer = unsafe arena.bytes(at: index * Self.stride, count: Self.bufferSize)
            unsafe parts[index] = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
            unsafe headers[index].msg_hdr.msg_name = unsafe names + index * Self.nameStride
            unsafe headers[index].msg_hdr.msg_iov = unsafe parts + index
            unsafe headers[index].msg_hdr.msg_iovlen = 1
            unsafe headers[index].msg_hdr.msg_control = unsafe controls + index * Self.controlStride
            lend(index)
        }
    }

    deinit {
        unsafe headers.deallocate()
        unsafe parts.deallocate()
        unsafe names.deallocate()
        unsafe controls.deallocate()
    }

    /// Takes what is there, at most `limit` messages and the batch's capacity, and returns how many; 0 when there is nothing
    /// now.
    ///
    /// An error that the network caused (ICMP) is counted and the receive tried again: it never ends a loop.
    package mutating func receive(from socket: borrowing UDPSocket) -> Int { receive(from: socket.raw) }

    /// The same for a descriptor of a `SocketTable`.
    package mutating func receive(from raw: Int32, limit: Int = .max) -> Int {
        for index in 0..<count { lend(index) }
        count = 0
        guard raw >= 0 else { return 0 }
        // The kernel reports a pending error once; a bound keeps a broken descriptor from looping.
        for _ in 0..<4 {
            let result = unsafe CLinux_recvmmsg(raw, headers, UInt32(min(limit, capacity)), Int32(MSG_DONTWAIT))
            if result > 0 {
                count = Int(result)
                return count
            }
            let errno = Errno.current
            if errno == .again { return 0 }
            if errno == .interrupted { continue }
            errors &+= 1
            lastError = errno
        }
        return 0
    }

    /// Message `index`, below `count`; nil for one without a usable source, cut short or empty.
    package borrowing func message(_ index: Int) -> ReceivedMessage? {
        precondition(index >= 0 && index < count)
        let header = unsafe headers[index].msg_hdr
        let length = unsafe Int(headers[index].msg_len)
        guard length > 0, length <= Self.bufferSize,
            unsafe header.msg_flags & (Int32(MSG_TRUNC) | Int32(MSG_CTRUNC)) == 0,
            let source = unsafe SocketAddress.load(names + index &* Self.nameStride, length: Int(header.msg_namelen))
        else { return nil }
        let control = unsafe UnsafeRawBufferPointer(
            start: controls + index &* Self.controlStride, count: min(Int(header.msg_controllen), Self.controlStride))
        let received = unsafe ControlMessage.load(control)
        let segmentSize = received.segmentSize ?? length
        guard segmentSize > 0 else { return nil }
        return unsafe ReceivedMessage(
            arena.bytes(at: index &* Self.stride, count: length), segmentSize: segmentSize, source: source,
            arrival: received.arrival)
    }

    /// Tells the kernel again how much room there is for source and ancillary data.
    private func lend(_ index: Int) {
        unsafe headers[index].msg_hdr.msg_namelen = UInt32(SocketAddress.size)
        unsafe headers[index].msg_hdr.msg_controllen = Self.controlStride
        unsafe headers[index].msg_hdr.msg_flags = 0
    }
}
