package import Addressing
import CLinux
import Glibc
package import Linux

/// Datagrams on their way out: laid out one behind the other as they are sealed, then sent with few system calls.
///
/// `reserve` lends the memory behind the last datagram, `commit` makes what was written there a datagram. Successive
/// datagrams of one size through one socket to one endpoint (the last may be shorter) become one UDP_SEGMENT message of at
/// most 64 datagrams and 65,000 bytes; `flush` hands all messages to `sendmmsg`. Where the kernel or a route can't segment,
/// the datagrams go out singly.
///
/// Memory: the arena (256 KiB, of which what was used is resident) and 20 KiB of tables, once. One thread.
@safe
package struct SendBatch: ~Copyable, @unchecked Sendable {
    /// What a flush did. A datagram that can't be sent is dropped: UDP's users cope with loss.
    package struct Sent: Sendable {
        package var datagrams = 0
        package var bytes = 0
        package var dropped = 0
        /// Of the last dropped datagram.
        package var error: Errno?
        /// The socket whose buffer is full: wait until it is writable, then flush again. The rest is kept.
        package var blocked: UInt8?
    }

    package static let maximumSegments = 64
    package static let maximumMessageLength = 65000

    private struct Message {
        var offset = 0
        var length = 0
        var segmentSize = 0
        var segments = 0
        var socket: UInt8 = 0
        /// Whether another datagram may join: none was shorter than the first.
        var isOpen = false
    }

    // Safe: all tables have `capacity` entries, allocated here and freed in deinit; `count` never passes it. Offsets are
    // those of the arena, checked by it. Used by one thread at a time, hence Sendable.
    private let arena: Arena
    private let capacity: Int
    private let messages: UnsafeMutablePointer<Message>
    private let headers: UnsafeMutablePointer<CLinux_mmsghdr>
    private let parts: UnsafeMutablePointer<iovec>
    private let names: UnsafeMutableRawPointer
    private let controls: UnsafeMutableRawPointer

    private var used = 0
    /// The first message not sent yet, and the end of the messages.
    private var head = 0
    private var count = 0
    private var lastEndpoint = Endpoint(.v4(.any), port: 0)
    /// Sockets, by bit, that were found unable to segment.
    private var unsegmented: UInt32 = 0

    private static let nameStride = 32
    private static let controlStride = 32

    package init(byteCount: Int = 256 << 10, messages capacity: Int = 128) throws(TransportError) {
        arena = try Arena(byteCount: byteCount)
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

    package var isEmpty: Bool { head == count }

    /// Bytes committed and not sent.
    package var pendingBytes: Int { isEmpty ? 0 : unsafe used &- messages[head].offset }

    /// Messages (not datagrams) committed and not sent.
    package var pendingMessages: Int { count &- head }

    /// `maximum` bytes to write the next datagram to; nil when a flush must make room first.
    @inline(__always)
    package borrowing func reserve(_ maximum: Int) -> UnsafeMutableRawBufferPointer? {
        guard maximum <= arena.count &- used, count < capacity else { return nil }
        return unsafe arena.bytes(at: used, count: maximum)
    }

    /// Makes the first `length` bytes of what `reserve` lent a datagram. An empty one is ignored.
    package mutating func commit(_ length: Int, to endpoint: Endpoint, socket: UInt8) {
        precondition(length >= 0 && length <= arena.count &- used && count < capacity)
        guard length > 0 else { return }
        if count > head {
            let last = unsafe messages + (count &- 1)
            if unsafe last.pointee.isOpen && last.pointee.socket == socket && length <= last.pointee.segmentSize
                && last.pointee.segments < Self.maximumSegments
                && last.pointee.length &+ length <= Self.maximumMessageLength && endpoint == lastEndpoint
            {
                unsafe last.pointee.length &+= length
                unsafe last.pointee.segments &+= 1
                unsafe last.pointee.isOpen = unsafe length == last.pointee.segmentSize
                used &+= length
                return
            }
        }
        unsafe messages[count] = Message(
            offset: used, length: length, segmentSize: length, segments: 1, socket: socket, isOpen: segments(socket))
        let name = unsafe names + count &* Self.nameStride
        unsafe headers[count].msg_hdr.msg_namelen = unsafe SocketAddress.store(endpoint, to: name)
        lastEndpoint = endpoint
        used &+= length
        count &+= 1
    }

    /// Sends what was committed, in order. Once all is sent, the memory is free again.
    ///
    /// Datagrams for a socket that `sockets` does not have are dropped.
    package mutating func flush(through sockets: SocketTable) -> Sent {
        var sent = Sent()
        var prepared = head
        while head < count {
            let socket = unsafe messages[head].socket
            var end = head
            while end < count, unsafe messages[end].socket == socket {
                if end >= prepared { prepare(end) }
                end &+= 1
            }
            prepared = max(prepared, end)
            let raw = sockets[socket]
            let result = unsafe raw < 0 ? -1 : CLinux_sendmmsg(raw, headers + head, UInt32(end &- head), sendFlags)
            if result > 0 {
                for index in head..<(head &+ Int(result)) {
                    unsafe sent.datagrams &+= messages[index].segments
                    unsafe sent.bytes &+= messages[index].length
                }
                head &+= Int(result)
                continue
            }
            let errno = raw < 0 ? .badDescriptor : Errno.current
            if errno == .interrupted { continue }
            if errno == .again {
                sent.blocked = socket
                return sent
            }
            if unsafe messages[head].segments > 1 && isSegmentation(errno) {
                // EIO: the device can't checksum segments. The others: these segments do not fit this path's MTU.
                if errno == .inputOutput { unsegmented |= 1 &<< UInt32(socket) }
                guard sendSingly(raw, &sent) else {
                    sent.blocked = socket
                    return sent
                }
            } else {
                unsafe sent.dropped &+= messages[head].segments
                sent.error = errno
            }
            head &+= 1
        }
        head = 0
        count = 0
        used = 0
        return sent
    }

    /// Forgets everything not sent.
    package mutating func discard() {
        head = 0
        count = 0
        used = 0
    }

    /// Whether datagrams through `socket` may be joined.
    package func segments(_ socket: UInt8) -> Bool { unsegmented & (1 &<< UInt32(socket & 31)) == 0 }

    /// Joins no datagrams through `socket` from now on, or does again (a socket was replaced).
    package mutating func setSegmentation(_ isOn: Bool, socket: UInt8) {
        let bit: UInt32 = 1 &<< UInt32(socket & 31)
        if isOn { unsegmented &= ~bit } else { unsegmented |= bit }
    }

    private func prepare(_ index: Int) {
        let message = unsafe messages[index]
        let bytes = unsafe arena.bytes(at: message.offset, count: message.length)
        unsafe parts[index] = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
        let control = unsafe controls + index &* Self.controlStride
        if message.segments > 1 {
            unsafe ControlMessage.storeSegmentSize(
                message.segmentSize, to: UnsafeMutableRawBufferPointer(start: control, count: ControlMessage.space))
            unsafe headers[index].msg_hdr.msg_control = unsafe control
            unsafe headers[index].msg_hdr.msg_controllen = ControlMessage.space
        } else {
            unsafe headers[index].msg_hdr.msg_control = nil
            unsafe headers[index].msg_hdr.msg_controllen = 0
        }
    }

    private func isSegmentation(_ errno: Errno) -> Bool {
        errno == .inputOutput || errno == .invalidArgument || errno == .messageTooLong
    }

    /// Sends the datagrams of the message at `head` one by one. False when the socket's buffer is full: what was sent is
    /// taken off the message.
    private mutating func sendSingly(_ raw: Int32, _ sent: inout Sent) -> Bool {
        let message = unsafe messages + head
        let name = unsafe (names + head &* Self.nameStride).assumingMemoryBound(to: sockaddr.self)
        while unsafe message.pointee.length > 0 {
            let length = unsafe min(message.pointee.segmentSize, message.pointee.length)
            let bytes = unsafe arena.bytes(at: message.pointee.offset, count: length)
            let result = unsafe sendto(
                raw, bytes.baseAddress, length, sendFlags, name, headers[head].msg_hdr.msg_namelen)
            if result < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                if errno == .again { return false }
                sent.dropped &+= 1
                sent.error = errno
            } else {
                sent.datagrams &+= 1
                sent.bytes &+= length
            }
            unsafe message.pointee.offset &+= length
            unsafe message.pointee.length &-= length
            unsafe message.pointee.segments &-= 1
        }
        return true
    }
}

private let sendFlags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
