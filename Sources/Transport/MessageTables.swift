import Addressing
import CLinux
import Glibc
import Linux

/// What sendmmsg(2) and recvmmsg(2) take, for a fixed number of messages: each has a header, one part, a name and room for
/// ancillary data. One thread.
@safe
struct MessageTables: ~Copyable, @unchecked Sendable {
    // Safe: all tables have `capacity` entries, allocated here and freed in deinit. Parts point to what the batch that owns
    // the tables keeps. Used by one thread at a time, hence Sendable.
    let capacity: Int
    private let controlSize: Int
    private let headers: UnsafeMutablePointer<CLinux_mmsghdr>
    private let parts: UnsafeMutablePointer<iovec>
    private let names: UnsafeMutableRawPointer
    private let controls: UnsafeMutableRawPointer

    private static let nameStride = 32
    /// For the size of segments.
    static let sendingControl = 32
    /// For the size of segments and the time of arrival.
    static let receivingControl = 64

    init(messages capacity: Int, controlSize: Int) {
        self.capacity = capacity
        self.controlSize = controlSize
        unsafe headers = .allocate(capacity: capacity)
        unsafe parts = .allocate(capacity: capacity)
        unsafe names = .allocate(byteCount: capacity * Self.nameStride, alignment: 16)
        unsafe controls = .allocate(byteCount: capacity * controlSize, alignment: 16)
        unsafe headers.initialize(repeating: CLinux_mmsghdr(), count: capacity)
        unsafe parts.initialize(repeating: iovec(), count: capacity)
        unsafe names.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * Self.nameStride)
        unsafe controls.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * controlSize)
        for index in 0..<capacity {
            unsafe headers[index].msg_hdr.msg_name = unsafe names + index * Self.nameStride
            unsafe headers[index].msg_hdr.msg_iov = unsafe parts + index
            unsafe headers[index].msg_hdr.msg_iovlen = 1
        }
    }

    deinit {
        unsafe headers.deallocate()
        unsafe parts.deallocate()
        unsafe names.deallocate()
        unsafe controls.deallocate()
    }

    // MARK: Sending

    func setDestination(_ index: Int, _ endpoint: Endpoint) {
        precondition(index >= 0 && index < capacity)
        unsafe headers[index].msg_hdr.msg_namelen = unsafe SocketAddress.store(
            endpoint, to: names + index &* Self.nameStride)
    }

    /// What the message sends: one datagram, or as many of `segmentSize` bytes as are in it.
    func setPayload(_ index: Int, _ base: UnsafeMutableRawPointer?, _ length: Int, segmentSize: Int) {
        precondition(index >= 0 && index < capacity)
        unsafe parts[index] = unsafe iovec(iov_base: base, iov_len: length)
        if length > segmentSize {
            let control = unsafe controls + index &* controlSize
            unsafe ControlMessage.storeSegmentSize(
                segmentSize, to: UnsafeMutableRawBufferPointer(start: control, count: ControlMessage.space))
            unsafe headers[index].msg_hdr.msg_control = unsafe control
            unsafe headers[index].msg_hdr.msg_controllen = ControlMessage.space
        } else {
            unsafe headers[index].msg_hdr.msg_control = nil
            unsafe headers[index].msg_hdr.msg_controllen = 0
        }
    }

    /// How many of the messages were sent, from the first; below zero with `errno` for none.
    func send(_ messages: Range<Int>, through raw: Int32) -> Int {
        precondition(messages.lowerBound >= 0 && messages.upperBound <= capacity)
        return unsafe Int(
            CLinux_sendmmsg(raw, headers + messages.lowerBound, UInt32(messages.count), Self.sendFlags))
    }

    /// Sends bytes as one datagram to the message's destination. Below zero with `errno` when it can't.
    func send(_ bytes: UnsafeRawBufferPointer, to index: Int, through raw: Int32) -> Int {
        precondition(index >= 0 && index < capacity)
        let name = unsafe (names + index &* Self.nameStride).assumingMemoryBound(to: sockaddr.self)
        return unsafe sendto(
            raw, bytes.baseAddress, bytes.count, Self.sendFlags, name, headers[index].msg_hdr.msg_namelen)
    }

    private static let sendFlags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)

    // MARK: Receiving

    /// Where the next receive puts the message.
    func setBuffer(_ index: Int, _ buffer: UnsafeMutableRawBufferPointer) {
        precondition(index >= 0 && index < capacity)
        unsafe parts[index] = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    }

    /// Tells the kernel again how much room there is for source and ancillary data.
    func lend(_ index: Int) {
        precondition(index >= 0 && index < capacity)
        unsafe headers[index].msg_hdr.msg_namelen = UInt32(SocketAddress.size)
        unsafe headers[index].msg_hdr.msg_control = unsafe controls + index &* controlSize
        unsafe headers[index].msg_hdr.msg_controllen = controlSize
        unsafe headers[index].msg_hdr.msg_flags = 0
    }

    /// Takes what is there into the first `limit` messages, and returns how many; 0 when there is nothing now.
    ///
    /// An error that the network caused (ICMP) is counted and the receive tried again: it never ends a loop.
    func receive(_ limit: Int, from raw: Int32, errors: inout UInt64) -> Int {
        precondition(limit >= 0 && limit <= capacity)
        // The kernel reports a pending error once; a bound keeps a broken descriptor from looping.
        for _ in 0..<4 {
            let result = unsafe CLinux_recvmmsg(raw, headers, UInt32(limit), Int32(MSG_DONTWAIT))
            if result > 0 { return Int(result) }
            let errno = Errno.current
            if errno == .again { return 0 }
            if errno == .interrupted { continue }
            errors &+= 1
        }
        return 0
    }

    /// The message that was received into `buffer`; nil for one without a usable source, cut short or empty.
    func message(_ index: Int, in buffer: UnsafeMutableRawBufferPointer) -> ReceivedMessage? {
        precondition(index >= 0 && index < capacity)
        let header = unsafe headers[index].msg_hdr
        let length = unsafe Int(headers[index].msg_len)
        guard length > 0, length <= buffer.count,
            unsafe header.msg_flags & (Int32(MSG_TRUNC) | Int32(MSG_CTRUNC)) == 0,
            let source = unsafe SocketAddress.load(names + index &* Self.nameStride, length: Int(header.msg_namelen))
        else { return nil }
        let control = unsafe UnsafeRawBufferPointer(
            start: controls + index &* controlSize, count: min(Int(header.msg_controllen), controlSize))
        let received = unsafe ControlMessage.load(control)
        let segmentSize = received.segmentSize ?? length
        guard segmentSize > 0 else { return nil }
        return unsafe ReceivedMessage(
            UnsafeMutableRawBufferPointer(rebasing: buffer[..<length]), segmentSize: segmentSize, source: source,
            arrival: received.arrival)
    }
}
