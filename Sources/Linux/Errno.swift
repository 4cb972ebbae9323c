import Glibc

/// A kernel error number; unknown codes are kept (errno(3)).
package struct Errno: Error, Hashable, Sendable {
    package let code: Int32

    package init(_ code: Int32) { self.code = code }

    /// The calling thread's `errno`.
    package static var current: Errno { Errno(Glibc.errno) }

    package static let again = Errno(EAGAIN)
    package static let interrupted = Errno(EINTR)
    package static let exists = Errno(EEXIST)
    package static let noEntry = Errno(ENOENT)
    package static let noDevice = Errno(ENODEV)
    package static let badDescriptor = Errno(EBADFD)
    package static let busy = Errno(EBUSY)
    package static let notPermitted = Errno(EPERM)
    package static let accessDenied = Errno(EACCES)
    package static let inputOutput = Errno(EIO)
    package static let invalidArgument = Errno(EINVAL)
    package static let noBuffers = Errno(ENOBUFS)
    package static let messageTooLong = Errno(EMSGSIZE)
    package static let networkUnreachable = Errno(ENETUNREACH)
}

extension Errno: CustomStringConvertible {
    package var description: String {
        let name: String? =
            switch code {
            case EPERM: "EPERM"
            case ENOENT: "ENOENT"
            case EIO: "EIO"
            case EBADF: "EBADF"
            case EAGAIN: "EAGAIN"
            case EACCES: "EACCES"
            case EBUSY: "EBUSY"
            case EEXIST: "EEXIST"
            case ENODEV: "ENODEV"
            case EINVAL: "EINVAL"
            case ENOSPC: "ENOSPC"
            case EADDRINUSE: "EADDRINUSE"
            case EADDRNOTAVAIL: "EADDRNOTAVAIL"
            case ENETUNREACH: "ENETUNREACH"
            case ECONNREFUSED: "ECONNREFUSED"
            default: nil
            }
        let text = unsafe String(cString: strerror(code))
        return name.map { "\($0) (\(text))" } ?? "errno \(code) (\(text))"
    }
}

/// A failed system call with the operation and the subject it failed on: `open /dev/net/tun: EACCES (…)`.
package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    package let operation: String
    package let errno: Errno

    /// - Parameter operation: operation and subject, as `bind 0.0.0.0:51820`.
    package init(_ operation: String, _ errno: Errno) {
        self.operation = operation
        self.errno = errno
    }

    package var description: String { "\(operation): \(errno)" }
}

/// The call's result, retried on EINTR; a SystemError naming `operation` when it is negative.
package func check(_ operation: @autoclosure () -> String, _ call: () -> Int32) throws(SystemError) -> Int32 {
    while true {
        let result = call()
        if result >= 0 { return result }
        let errno = Errno.current
        if errno != .interrupted { throw SystemError(operation(), errno) }
    }
}
