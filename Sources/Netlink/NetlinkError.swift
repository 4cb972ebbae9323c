package import Linux

/// Why a netlink request failed, with the operation and the subject it failed on.
package enum NetlinkError: Error, Hashable, Sendable {
    /// The kernel refused: its error number and, where it gave one, its extended-ack text (NETLINK_EXT_ACK).
    case refused(operation: String, errno: Errno, text: String?)
    /// A system call on the netlink socket itself failed.
    case system(SystemError)
    /// The kernel's answer is cut off or not what the request asks for.
    case malformedReply(operation: String)
    /// The request does not fit a message (4096 bytes): some name or value in it is far too long.
    case requestTooLong
    /// A dump was disturbed by concurrent changes on every try.
    case interruptedDump(operation: String)

    /// The kernel's error number; nil for errors that are not the kernel's.
    package var errno: Errno? {
        switch self {
        case .refused(_, let errno, _): errno
        case .system(let error): error.errno
        case .malformedReply, .requestTooLong, .interruptedDump: nil
        }
    }
}

extension NetlinkError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .refused(let operation, let errno, let text): "\(operation): \(errno)" + (text.map { ": \($0)" } ?? "")
        case .system(let error): error.description
        case .malformedReply(let operation): "\(operation): malformed netlink reply"
        case .requestTooLong: "build netlink request: longer than \(Message.capacity) bytes"
        case .interruptedDump(let operation): "\(operation): the tables kept changing during the dump"
        }
    }
}
