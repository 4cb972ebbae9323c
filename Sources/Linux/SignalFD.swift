import CLinux
import Glibc

/// A signalfd(2): signals as something to read. Make it before any thread, so that all threads inherit the mask.
package struct SignalFD: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    /// Blocks `signals` for the calling thread and the threads it starts later, and reads them here.
    package init(_ signals: [Int32]) throws(SystemError) {
        var set = Self.set(signals)
        Self.block(signals)
        descriptor = FileDescriptor(
            owning: try check("signalfd") { unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK)) })
    }

    /// Blocks `signals` for the calling thread and the threads it starts later.
    package static func block(_ signals: [Int32]) {
        var set = set(signals)
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    private static func set(_ signals: [Int32]) -> sigset_t {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in signals { unsafe sigaddset(&set, signal) }
        return set
    }

    package var raw: Int32 { descriptor.raw }

    /// The number of the next pending signal, or nil.
    package borrowing func next() -> Int32? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        guard unsafe read(descriptor.raw, &info, size) == size else { return nil }
        return Int32(info.ssi_signo)
    }
}
