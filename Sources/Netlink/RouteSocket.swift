import CMnl
import Glibc
import Linux

/// A netlink socket, of NETLINK_ROUTE unless told otherwise: it sends one request at a time and waits for the kernel's
/// answer (rtnetlink(7)).
///
/// It acts in the network namespace it was made in, for its whole life. Not safe for concurrent use.
@safe package struct RouteSocket: ~Copyable {
    // Safe: opened in init, closed in deinit, never handed out.
    private let handle: OpaquePointer
    private let port: UInt32
    private var sequence: UInt32 = 0

    package init(_ family: Int32 = NETLINK_ROUTE) throws(NetlinkError) {
        guard let handle = unsafe mnl_socket_open2(family, Int32(SOCK_CLOEXEC.rawValue)) else {
            throw .system(SystemError("open netlink socket", .current))
        }
        guard unsafe mnl_socket_bind(handle, 0, MNL_SOCKET_AUTOPID) == 0 else {
            let error = SystemError("bind netlink socket", .current)
            _ = unsafe mnl_socket_close(handle)
            throw .system(error)
        }
        unsafe self.handle = unsafe handle
        port = unsafe mnl_socket_get_portid(handle)
        // Without these the kernel's texts are missing, or come after a copy of the request: worse, but no fault.
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            var enabled: Int32 = 1
            _ = unsafe mnl_socket_setsockopt(
                handle, Int32(option), &enabled, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    deinit { _ = unsafe mnl_socket_close(handle) }

    /// The descriptor, which stays owned here.
    var raw: Int32 { unsafe mnl_socket_get_fd(handle) }

    /// Sends a request and returns the messages that answer it; none for a request that only changes something.
    ///
    /// - Parameters:
    ///   - operation: operation and subject for errors, as `set MTU 1400 on warren0`.
    package mutating func request(
        _ message: Message, _ operation: @autoclosure () -> String
    ) throws(NetlinkError) -> [Reply] {
        for _ in 0..<8 {
            sequence &+= 1
            var message = message
            message.sequence = sequence
            let bytes = message.bytes
            let sent = unsafe mnl_socket_sendto(handle, bytes, bytes.count)
            guard sent == bytes.count else { throw .system(SystemError("\(operation()): send", .current)) }
            if let replies = try receive(operation) { return replies }
        }
        throw .interruptedDump(operation: operation())
    }

    /// The answers up to the acknowledgement; nil when the dump was disturbed and is to be repeated.
    private func receive(_ operation: () -> String) throws(NetlinkError) -> [Reply]? {
        var replies: [Reply] = []
        var disturbed = false
        var buffer = [UInt8](repeating: 0, count: 32768)
        while true {
            let length = unsafe buffer.withUnsafeMutableBytes {
                unsafe mnl_socket_recvfrom(handle, $0.baseAddress, $0.count)
            }
            if length < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                throw .system(SystemError("\(operation()): receive", errno))
            }
            guard let batch = Reply.split(Array(buffer.prefix(length))) else {
                throw .malformedReply(operation: operation())
            }
            for reply in batch where reply.sequence == sequence && reply.port == port {
                disturbed = disturbed || reply.isDisturbed
                guard let end = reply.end else {
                    replies.append(reply)
                    continue
                }
                guard end.code == 0 else {
                    throw .refused(operation: operation(), errno: Errno(end.code), text: end.text)
                }
                return disturbed ? nil : replies
            }
        }
    }
}
