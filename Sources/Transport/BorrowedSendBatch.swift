package import Addressing
import CLinux
import Glibc
package import Linux

/// Messages whose bytes are somebody else's memory, sent with one `sendmmsg`: a run of datagrams that came in together goes
/// out together (UDP_SEGMENT), without a copy.
///
/// The memory must stay as it is until a `flush` has counted its message as done. One thread.
@safe
package struct BorrowedSendBatch: ~Copyable, @unchecked Sendable {
    package struct Sent: Sendable {
        /// Messages, from the front, that are done with: sent or dropped.
        package var messages = 0
        package var datagrams = 0
        package var bytes = 0
        /// Datagrams that could not be sent.
        package var dropped = 0
        package var error: Errno?
        /// The socket's buffer is full: wait until it is writable, then flush again. The rest is kept.
        package var isBlocked = false

        package init() {}
    }

    @safe
    private struct Message {
        // Safe: the caller's memory, which stays until the message is done with.
        var base: UnsafeMutableRawPointer?
        var length = 0
        var segmentSize = 0
    }

    // Safe: all tables have `capacity` entries, allocated here and freed in deinit; `count` never passes it. The bytes that
    // messages point to are kept by the caller, as the documentation demands. Used by one thread at a time, hence Sendable.
    private let capacity: Int
    private let messages: UnsafeMutablePointer<Message>
    private let headers: UnsafeMutablePointer<CLinux_mmsghdr>
    private let parts: UnsafeMutablePointer<iovec>
    private let names: UnsafeMutableRawPointer
    private let controls: UnsafeMutableRawPointer
    private var head = 0
    private var end = 0
    private var canSegment = true

    private static let nameStride = 32
    private static let controlStride = 32

    package init(messages capacity: Int = 64) {
        self.capacity = capacity
        unsafe messages = .allocate(capacity: capacity)
        unsafe headers = .allocate(capacity: capacity)
        unsafe parts = .allocate(capacity: capacity)
        unsafe names = .allocate(byteCount: capacity * Self.nameStride, alignment: 16)
        unsafe controls = .allocate(byteCount: capacity * Self.controlStride, alignment: 16)
        unsafe messages.initialize(repeating: Message(), count: capacity)
        unsafe headers.initialize(repeating: CLinux_mmsghdr(), count: capacity)
        unsafe parts.initialize(repeating: iovec(), count: capacity)
        unsafe names.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.nameStride)
        unsafe controls.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.controlStride)
        for index in 0..<capacity {
            unsafe headers[index].msg_hdr.msg_name = unsafe names + index * Self.nameStride
            unsafe headers[index].msg_hdr.msg_iov = unsafe parts + index
            unsafe headers[index].msg_hdr.msg_iovlen = 1
        }
    }

    deinit {
        unsafe messages.deallocate()
        unsafe headers.deallocate()
        unsafe parts.deallocate()
        unsafe names.deallocate()
        unsafe controls.deallocate()
    }

    package var isEmpty: Bool { head == end }
    /// Whether a flush must make room first.
    package var isFull: Bool { end == capacity }

    /// Adds the datagrams of `segmentSize` bytes in `bytes`, the last of which may be shorter: at most 64, and 65,000 bytes.
    package mutating func append(
        _ bytes: UnsafeMutableRawBufferPointer, segmentSize: Int, to endpoint: Endpoint
    ) {
        precondition(end < capacity && segmentSize > 0)
        unsafe messages[end] = unsafe Message(
            base: bytes.baseAddress, length: bytes.count, segmentSize: min(segmentSize, bytes.count))
        unsafe headers[end].msg_hdr.msg_namelen = unsafe SocketAddress.store(
            endpoint, to: names + end &* Self.nameStride)
        end &+= 1
    }

    /// Sends what was added, in order.
    package mutating func flush(through raw: Int32) -> Sent {
        var sent = Sent()
        for index in head..<end { prepare(index) }
        while head < end {
            if unsafe !canSegment && messages[head].length > messages[head].segmentSize {
                guard sendSingly(raw, &sent) else { return sent }
                continue
            }
            let result = unsafe CLinux_sendmmsg(raw, headers + head, UInt32(run()), sendFlags)
            if result > 0 {
                for index in head..<(head &+ Int(result)) {
                    unsafe sent.datagrams &+= Self.datagrams(messages[index])
                    unsafe sent.bytes &+= messages[index].length
                }
                sent.messages &+= Int(result)
                head &+= Int(result)
                continue
            }
            let errno = Errno.current
            if errno == .interrupted { continue }
            if errno == .again {
                sent.isBlocked = true
                return sent
            }
            let isSegmented = unsafe messages[head].length > messages[head].segmentSize
            if isSegmented, errno == .inputOutput || errno == .invalidArgument || errno == .messageTooLong {
                // EIO: the device can't checksum segments. The others: these do not fit this path's MTU.
                if errno == .inputOutput { canSegment = false }
                guard sendSingly(raw, &sent) else { return sent }
                continue
            }
            unsafe sent.dropped &+= Self.datagrams(messages[head])
            sent.error = errno
            sent.messages &+= 1
            head &+= 1
        }
        head = 0
        end = 0
        return sent
    }

    /// Messages from the front that may go to `sendmmsg` together.
    private func run() -> Int {
        if canSegment { return end &- head }
        var next = head
        while next < end, unsafe messages[next].length <= messages[next].segmentSize { next &+= 1 }
        return next &- head
    }

    private static func datagrams(_ message: Message) -> Int {
        (message.length &+ message.segmentSize &- 1) / max(1, message.segmentSize)
    }

    private func prepare(_ index: Int) {
        let message = unsafe messages[index]
        unsafe parts[index] = unsafe iovec(iov_base: message.base, iov_len: message.length)
        if message.length > message.segmentSize {
            let control = unsafe controls + index &* Self.controlStride
            unsafe ControlMessage.storeSegmentSize(
                message.segmentSize, to: UnsafeMutableRawBufferPointer(start: control, count: ControlMessage.space))
            unsafe headers[index].msg_hdr.msg_control = unsafe control
            unsafe headers[index].msg_hdr.msg_controllen = ControlMessage.space
        } else {
            unsafe headers[index].msg_hdr.msg_control = nil
            unsafe headers[index].msg_hdr.msg_controllen = 0
        }
    }

    /// Sends the datagrams of the message at `head` one by one. False when the socket's buffer is full: what was sent is
    /// taken off the message.
    private mutating func sendSingly(_ raw: Int32, _ sent: inout Sent) -> Bool {
        let message = unsafe messages + head
        let name = unsafe (names + head &* Self.nameStride).assumingMemoryBound(to: sockaddr.self)
        while unsafe message.pointee.length > 0 {
            let length = unsafe min(message.pointee.segmentSize, message.pointee.length)
            let result = unsafe sendto(
                raw, message.pointee.base, length, sendFlags, name, headers[head].msg_hdr.msg_namelen)
            if result < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                if errno == .again {
                    sent.isBlocked = true
                    return false
                }
                sent.dropped &+= 1
                sent.error = errno
            } else {
                sent.datagrams &+= 1
                sent.bytes &+= length
            }
            unsafe message.pointee.base = unsafe message.pointee.base.map { unsafe $0 + length }
            unsafe message.pointee.length &-= length
        }
        sent.messages &+= 1
        head &+= 1
        return true
    }
}

private let sendFlags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
