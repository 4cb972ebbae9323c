import CLinux
import Glibc

/// An eventfd(2): a wake-up that any thread can signal and one epoll loop waits for.
package struct EventFD: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    package init() throws(SystemError) {
        descriptor = FileDescriptor(
            owning: try check("eventfd") { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) })
    }

    package var raw: Int32 { descriptor.raw }

    /// Makes the descriptor readable. Safe from any thread.
    package borrowing func signal() { _ = eventfd_write(descriptor.raw, 1) }

    /// Takes all signals so far.
    package borrowing func drain() {
        var value: eventfd_t = 0
        _ = unsafe eventfd_read(descriptor.raw, &value)
    }
}
