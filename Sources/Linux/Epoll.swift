import CLinux
import Glibc
package import Timing

/// An epoll(7) instance: which of the registered descriptors can be read or written.
///
/// One thread waits; registrations may come from any thread.
package struct Epoll: ~Copyable, Sendable {
    package struct Interest: OptionSet, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }
        package static let read = Interest(rawValue: EPOLLIN.rawValue)
        package static let write = Interest(rawValue: EPOLLOUT.rawValue)
        package static let error = Interest(rawValue: EPOLLERR.rawValue)
        package static let hangUp = Interest(rawValue: EPOLLHUP.rawValue)
        package static let edgeTriggered = Interest(rawValue: EPOLLET.rawValue)
    }

    package struct Event: Sendable {
        /// The number the descriptor was registered with.
        package let token: UInt64
        package let ready: Interest
    }

    private let descriptor: FileDescriptor

    package init() throws(SystemError) {
        descriptor = FileDescriptor(owning: try check("epoll_create1") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
    }

    /// For another epoll that waits for this one.
    package var raw: Int32 { descriptor.raw }

    package borrowing func add(_ raw: Int32, _ interest: Interest, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_ADD, raw, interest, token)
    }

    package borrowing func modify(_ raw: Int32, _ interest: Interest, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_MOD, raw, interest, token)
    }

    package borrowing func remove(_ raw: Int32) throws(SystemError) { try control(EPOLL_CTL_DEL, raw, [], 0) }

    /// Waits for at most `timeout` (nil: without limit) and returns up to 32 ready descriptors; none on time-out or a
    /// signal. The time-out is rounded up to a millisecond.
    package borrowing func wait(timeout: Interval?) throws(SystemError) -> [Event] {
        let milliseconds: Int32 =
            timeout.map { Int32(clamping: ($0.nanoseconds + 999_999) / 1_000_000) } ?? -1
        var events = unsafe [epoll_event](repeating: epoll_event(), count: 32)
        let count = unsafe epoll_wait(descriptor.raw, &events, 32, milliseconds)
        if count < 0 {
            let errno = Errno.current
            if errno == .interrupted { return [] }
            throw SystemError("epoll_wait", errno)
        }
        return unsafe events.prefix(Int(count)).map {
            unsafe Event(token: $0.data.u64, ready: Interest(rawValue: $0.events))
        }
    }

    /// The same into a buffer that is used again and again, for packet loops; returns how many are ready.
    package borrowing func wait(into events: borrowing EpollEvents, timeout: Interval?) throws(SystemError) -> Int {
        let milliseconds: Int32 =
            timeout.map { Int32(clamping: ($0.nanoseconds + 999_999) / 1_000_000) } ?? -1
        let count = unsafe epoll_wait(descriptor.raw, events.storage, Int32(EpollEvents.capacity), milliseconds)
        if count >= 0 { return Int(count) }
        let errno = Errno.current
        if errno == .interrupted { return 0 }
        throw SystemError("epoll_wait", errno)
    }

    private borrowing func control(
        _ operation: Int32, _ raw: Int32, _ interest: Interest, _ token: UInt64
    ) throws(SystemError) {
        var event = unsafe epoll_event(events: interest.rawValue, data: epoll_data_t(u64: token))
        let epoll = descriptor.raw
        _ = try check("epoll_ctl descriptor \(raw)") { unsafe epoll_ctl(epoll, operation, raw, &event) }
    }
}

/// Room for what one wait finds, allocated once. One thread.
@safe package struct EpollEvents: ~Copyable, @unchecked Sendable {
    // Safe: `capacity` entries, initialised here and freed in deinit; used by one thread at a time.
    fileprivate let storage: UnsafeMutablePointer<epoll_event>
    fileprivate static let capacity = 32

    package init() {
        unsafe storage = .allocate(capacity: Self.capacity)
        unsafe storage.initialize(repeating: epoll_event(), count: Self.capacity)
    }

    deinit { unsafe storage.deallocate() }

    /// Entry `index`, below what the wait returned.
    package subscript(index: Int) -> Epoll.Event {
        precondition(index >= 0 && index < Self.capacity)
        let event = unsafe storage[index]
        return unsafe Epoll.Event(token: event.data.u64, ready: Epoll.Interest(rawValue: event.events))
    }
}
