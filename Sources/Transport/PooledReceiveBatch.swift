import CLinux
import Glibc
import Linux

/// Datagrams as they come in, each message in a buffer of a pool: whoever forwards it keeps the buffer until it was sent, and
/// copies nothing.
///
/// The pool's buffers have `bufferSize` bytes. One thread.
@safe
package struct PooledReceiveBatch: ~Copyable, @unchecked Sendable {
    // Safe: all tables have `capacity` entries, allocated here and freed in deinit; `count` and `lent` never pass it. Used by
    // one thread at a time, hence Sendable.
    private let capacity: Int
    private let headers: UnsafeMutablePointer<CLinux_mmsghdr>
    private let parts: UnsafeMutablePointer<iovec>
    private let names: UnsafeMutableRawPointer
    private let controls: UnsafeMutableRawPointer
    private var buffers: [UInt32]
    /// Buffers that the next receive may fill, from the front.
    private var lent = 0

    /// Messages of the last `receive`: their buffers are the caller's.
    package private(set) var count = 0
    /// Errors other than "nothing there" that receives met and went past.
    package private(set) var errors: UInt64 = 0

    private static let messageSize = 65536
    /// Not a multiple of the page size: else the first bytes of all buffers share one set of the cache.
    package static let bufferSize = messageSize + 320
    private static let nameStride = 32
    private static let controlStride = 64

    package init(messages capacity: Int = 32) {
        self.capacity = capacity
        buffers = Array(repeating: 0, count: capacity)
        unsafe headers = .allocate(capacity: capacity)
        unsafe parts = .allocate(capacity: capacity)
        unsafe names = .allocate(byteCount: capacity * Self.nameStride, alignment: 16)
        unsafe controls = .allocate(byteCount: capacity * Self.controlStride, alignment: 16)
        unsafe headers.initialize(repeating: CLinux_mmsghdr(), count: capacity)
        unsafe parts.initialize(repeating: iovec(), count: capacity)
        unsafe names.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.nameStride)
        unsafe controls.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.controlStride)
        for index in 0..<capacity {
            unsafe headers[index].msg_hdr.msg_name = unsafe names + index * Self.nameStride
            unsafe headers[index].msg_hdr.msg_iov = unsafe parts + index
            unsafe headers[index].msg_hdr.msg_iovlen = 1
            unsafe headers[index].msg_hdr.msg_control = unsafe controls + index * Self.controlStride
        }
    }

    deinit {
        unsafe headers.deallocate()
        unsafe parts.deallocate()
        unsafe names.deallocate()
        unsafe controls.deallocate()
    }

    /// Takes what is there, at most `capacity` messages and as many as the pool has buffers for, and returns how many. Each
    /// one's buffer is from now on the caller's to give back.
    package mutating func receive(from raw: Int32, into pool: inout PacketPool) -> Int {
        count = 0
        while lent < capacity, let buffer = pool.take() {
            buffers[lent] = buffer
            lent += 1
        }
        guard lent > 0 else { return 0 }
        for index in 0..<lent {
            let memory = unsafe pool.bytes(buffers[index])
            unsafe parts[index] = unsafe iovec(iov_base: memory.baseAddress, iov_len: Self.messageSize)
            unsafe headers[index].msg_hdr.msg_namelen = UInt32(SocketAddress.size)
            unsafe headers[index].msg_hdr.msg_controllen = Self.controlStride
            unsafe headers[index].msg_hdr.msg_flags = 0
        }
        // The kernel reports a pending error once; a bound keeps a broken descriptor from looping.
        for _ in 0..<4 {
            let result = unsafe CLinux_recvmmsg(raw, headers, UInt32(lent), Int32(MSG_DONTWAIT))
            if result > 0 {
                count = Int(result)
                return count
            }
            let errno = Errno.current
            if errno == .again { return 0 }
            if errno == .interrupted { continue }
            errors &+= 1
        }
        return 0
    }

    /// Which buffer message `index`, below `count`, is in.
    package borrowing func buffer(_ index: Int) -> UInt32 {
        precondition(index >= 0 && index < count)
        return buffers[index]
    }

    /// Message `index`, below `count`; nil for one without a usable source, cut short or empty.
    package borrowing func message(_ index: Int, in pool: borrowing PacketPool) -> ReceivedMessage? {
        precondition(index >= 0 && index < count)
        let header = unsafe headers[index].msg_hdr
        let length = unsafe Int(headers[index].msg_len)
        guard length > 0, length <= Self.messageSize,
            unsafe header.msg_flags & (Int32(MSG_TRUNC) | Int32(MSG_CTRUNC)) == 0,
            let source = unsafe SocketAddress.load(names + index &* Self.nameStride, length: Int(header.msg_namelen))
        else { return nil }
        let control = unsafe UnsafeRawBufferPointer(
            start: controls + index &* Self.controlStride, count: min(Int(header.msg_controllen), Self.controlStride))
        let received = unsafe ControlMessage.load(control)
        let segmentSize = received.segmentSize ?? length
        guard segmentSize > 0 else { return nil }
        let memory = unsafe pool.bytes(buffers[index])
        return unsafe ReceivedMessage(
            UnsafeMutableRawBufferPointer(rebasing: memory[..<length]), segmentSize: segmentSize, source: source,
            arrival: received.arrival)
    }

    /// To be called once all messages of the last receive are dealt with.
    package mutating func finish() {
        // What was not filled stays lent for the next time.
        for index in count..<lent { buffers[index - count] = buffers[index] }
        lent -= count
        count = 0
    }
}
