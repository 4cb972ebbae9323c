import CLinux
import CMnl
import CNftnl
import Glibc
import Linux
import Netlink

/// A NETLINK_NETFILTER socket for transactions, in the network namespace it was made in. Not safe for concurrent use.
@safe struct NetfilterSocket: ~Copyable {
    // Safe: opened in init, closed in deinit, never handed out.
    private let handle: OpaquePointer

    init() throws(NetlinkError) {
        guard let handle = unsafe mnl_socket_open2(NETLINK_NETFILTER, Int32(SOCK_CLOEXEC.rawValue)) else {
            throw .system(SystemError("open netfilter's netlink socket", .current))
        }
        guard unsafe mnl_socket_bind(handle, 0, MNL_SOCKET_AUTOPID) == 0 else {
            let error = SystemError("bind netfilter's netlink socket", .current)
            _ = unsafe mnl_socket_close(handle)
            throw .system(error)
        }
        unsafe self.handle = unsafe handle
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            var enabled: Int32 = 1
            _ = unsafe mnl_socket_setsockopt(handle, Int32(option), &enabled, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    deinit { _ = unsafe mnl_socket_close(handle) }

    /// Stays owned here.
    var raw: Int32 { unsafe mnl_socket_get_fd(handle) }

    /// Sends the transaction; throws what the kernel says of the first request that it refuses.
    func commit(_ transaction: consuming Transaction) throws(NetlinkError) {
        let operations = transaction.operations
        guard let first = operations.first else { return }
        let bytes = transaction.finished()
        let descriptor = unsafe mnl_socket_get_fd(handle)
        var size = Int32(clamping: bytes.count * 2)
        // One send is one transaction, however long.
        if bytes.count > 65536 {
            _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        guard unsafe mnl_socket_sendto(handle, bytes, bytes.count) == bytes.count else {
            throw .system(SystemError("\(first): send", .current))
        }
        // The kernel has done it all, and answered, before send(2) returns.
        var isAcknowledged = false
        var refusal: NetlinkError?
        var buffer = [UInt8](repeating: 0, count: 32768)
        while true {
            let length = unsafe recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if length < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                guard errno == .again else { throw .system(SystemError("\(first): receive", errno)) }
                break
            }
            guard let replies = Reply.split(Array(buffer.prefix(length))) else {
                throw .malformedReply(operation: first)
            }
            for reply in replies {
                guard let end = reply.end else { continue }
                guard end.code == 0 else {
                    // A transaction refused as a whole is refused at its beginning, which is number 0.
                    let index = Int(reply.sequence) - 1
                    let operation = operations.indices.contains(index) ? operations[index] : first
                    refusal = refusal ?? .refused(operation: operation, errno: Errno(end.code), text: end.text)
                    continue
                }
                isAcknowledged = isAcknowledged || reply.sequence == UInt32(operations.count)
            }
        }
        if let refusal { throw refusal }
        guard isAcknowledged else { throw .malformedReply(operation: first) }
    }
}
