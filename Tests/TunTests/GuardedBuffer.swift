import Glibc

/// Memory between two pages that must not be touched: a read or write beyond it ends the process.
@safe
struct GuardedBuffer: ~Copyable {
    // Safe: the mapping lives as long as the value.
    private let mapping: UnsafeMutableRawPointer
    private let mapped: Int
    private let start: UnsafeMutableRawPointer
    private let count: Int

    enum Edge { case leading, trailing }

    /// `count` bytes that begin right behind the first guard page, or end right before the last.
    init(_ count: Int, at edge: Edge) {
        let page = 4096
        let inner = (count + page - 1) / page * page
        mapped = inner + 2 * page
        unsafe mapping = unsafe mmap(nil, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        unsafe mprotect(mapping + page, inner, PROT_READ | PROT_WRITE)
        unsafe start = unsafe mapping + page + (edge == .leading ? 0 : inner - count)
        self.count = count
    }

    deinit { unsafe munmap(mapping, mapped) }

    var bytes: UnsafeMutableRawBufferPointer { unsafe UnsafeMutableRawBufferPointer(start: start, count: count) }
}
