package import Addressing
import Glibc
package import Linux

/// Messages whose bytes are somebody else's memory, sent with few calls of `sendmmsg`: a run of datagrams that came in
/// together goes out together (UDP_SEGMENT), without a copy. Where the kernel or a route can't segment, the datagrams go out
/// singly.
///
/// The memory must stay as it is until a `flush` has counted its message as done. One thread.
@safe
package struct BorrowedSendBatch: ~Copyable, @unchecked Sendable {
    /// What a flush did. A datagram that can't be sent is dropped: UDP's users cope with loss.
    package struct Sent: Sendable {
        /// Messages, from the front, that are done with: sent or dropped.
        package var messages = 0
        package var datagrams = 0
        package var bytes = 0
        /// Datagrams that could not be sent.
        package var dropped = 0
        /// Of the last dropped datagram.
        package var error: Errno?
        /// The socket whose buffer is full: wait until it is writable, then flush again. The rest is kept.
        package var blocked: UInt8?

        package init() {}
    }

    package static let maximumSegments = 64
    package static let maximumMessageLength = 65000

    @safe
    private struct Message {
        // Safe: the caller's memory, which stays until the message is done with.
        var base: UnsafeMutableRawPointer?
        var length = 0
        var segmentSize = 1
        var socket: UInt8 = 0

        var isSegmented: Bool { length > segmentSize }
        var datagrams: Int { isSegmented ? (length &+ segmentSize &- 1) / segmentSize : 1 }
    }

    // Safe: `messages` has the tables' capacity, allocated here and freed in deinit; `head` and `end` never pass it. The
    // bytes that messages point to are kept by the caller, as the documentation demands. Used by one thread at a time, hence
    // Sendable.
    private let tables: MessageTables
    private let messages: UnsafeMutablePointer<Message>
    /// The first message not sent yet, and the end of the messages.
    private var head = 0
    private var end = 0
    /// Bytes added and not sent.
    package private(set) var pendingBytes = 0
    /// Sockets, by bit, that were found unable to segment.
    private var unsegmented: UInt32 = 0

    package init(messages capacity: Int = 64) {
        tables = MessageTables(messages: capacity, controlSize: MessageTables.sendingControl)
        unsafe messages = .allocate(capacity: capacity)
        unsafe messages.initialize(repeating: Message(), count: capacity)
    }

    deinit { unsafe messages.deallocate() }

    package var isEmpty: Bool { head == end }
    /// Whether a flush must make room first.
    package var isFull: Bool { end == tables.capacity }
    /// Messages (not datagrams) added and not sent.
    package var pendingMessages: Int { end &- head }

    /// Adds the datagrams of `segmentSize` bytes in `bytes`, the last of which may be shorter: at most `maximumSegments`, and
    /// `maximumMessageLength` bytes.
    package mutating func append(
        _ bytes: UnsafeMutableRawBufferPointer, segmentSize: Int, to endpoint: Endpoint, socket: UInt8 = 0
    ) {
        precondition(!isFull && segmentSize > 0)
        unsafe messages[end] = unsafe Message(
            base: bytes.baseAddress, length: bytes.count, segmentSize: segmentSize, socket: socket)
        tables.setDestination(end, endpoint)
        pendingBytes &+= bytes.count
        end &+= 1
    }

    /// Adds a datagram that lies behind the last message to that message, all of whose datagrams must be whole.
    mutating func extend(by length: Int) {
        precondition(!isEmpty)
        unsafe messages[end &- 1].length &+= length
        pendingBytes &+= length
    }

    /// Sends what was added, in order. Datagrams for a socket that `sockets` does not have are dropped.
    package mutating func flush(through sockets: SocketTable) -> Sent {
        var sent = Sent()
        for index in head..<end {
            let message = unsafe messages[index]
            unsafe tables.setPayload(index, message.base, message.length, segmentSize: message.segmentSize)
        }
        while head < end {
            let socket = unsafe messages[head].socket
            let raw = sockets[socket]
            if unsafe messages[head].isSegmented && !segments(socket) {
                guard sendSingly(raw, &sent) else { return sent }
                continue
            }
            let result = tables.send(head..<run(), through: raw)
            if result > 0 {
                for index in head..<(head &+ result) {
                    unsafe sent.datagrams &+= messages[index].datagrams
                    unsafe sent.bytes &+= messages[index].length
                    unsafe pendingBytes &-= messages[index].length
                }
                sent.messages &+= result
                head &+= result
                continue
            }
            let errno = Errno.current
            if errno == .interrupted { continue }
            if errno == .again {
                sent.blocked = socket
                return sent
            }
            if unsafe messages[head].isSegmented, isSegmentation(errno) {
                // EIO: the device can't checksum segments. The others: these do not fit this path's MTU.
                if errno == .inputOutput { setSegmentation(false, socket: socket) }
                guard sendSingly(raw, &sent) else { return sent }
                continue
            }
            unsafe sent.dropped &+= messages[head].datagrams
            sent.error = errno
            unsafe pendingBytes &-= messages[head].length
            sent.messages &+= 1
            head &+= 1
        }
        head = 0
        end = 0
        return sent
    }

    /// Forgets everything not sent.
    package mutating func discard() {
        head = 0
        end = 0
        pendingBytes = 0
    }

    /// Whether datagrams through `socket` may be joined.
    package func segments(_ socket: UInt8) -> Bool { unsegmented & (1 &<< UInt32(socket & 31)) == 0 }

    /// Joins no datagrams through `socket` from now on, or does again (a socket was replaced).
    package mutating func setSegmentation(_ isOn: Bool, socket: UInt8) {
        let bit: UInt32 = 1 &<< UInt32(socket & 31)
        if isOn { unsegmented &= ~bit } else { unsegmented |= bit }
    }

    /// The end of the messages from the front that may go to one `sendmmsg`: those of one socket, if it can send them.
    private func run() -> Int {
        let socket = unsafe messages[head].socket
        let canSegment = segments(socket)
        var next = head &+ 1
        while next < end, unsafe messages[next].socket == socket, unsafe canSegment || !messages[next].isSegmented {
            next &+= 1
        }
        return next
    }

    /// Sends the datagrams of the message at `head` one by one. False when the socket's buffer is full: what was sent is
    /// taken off the message.
    private mutating func sendSingly(_ raw: Int32, _ sent: inout Sent) -> Bool {
        let message = unsafe messages + head
        while unsafe message.pointee.length > 0 {
            let length = unsafe min(message.pointee.segmentSize, message.pointee.length)
            let datagram = unsafe UnsafeRawBufferPointer(start: message.pointee.base, count: length)
            if unsafe tables.send(datagram, to: head, through: raw) < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                if errno == .again {
                    sent.blocked = unsafe message.pointee.socket
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
            pendingBytes &-= length
        }
        sent.messages &+= 1
        head &+= 1
        return true
    }

    private func isSegmentation(_ errno: Errno) -> Bool {
        errno == .inputOutput || errno == .invalidArgument || errno == .messageTooLong
    }
}
