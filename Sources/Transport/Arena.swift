import Glibc
import Linux

/// Page-aligned memory for packets, mapped once and unmapped with its owner.
///
/// A page costs memory only once it was touched. Core dumps leave it out: it holds plaintext. One thread at a time.
@safe
package struct Arena: ~Copyable, @unchecked Sendable {
    // Safe: the mapping is owned here, and lives as long as the value does.
    private let base: UnsafeMutableRawPointer
    /// Bytes, a multiple of the page size.
    package let count: Int

    package init(byteCount: Int) throws(TransportError) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let size = (max(1, byteCount) + page - 1) / page * page
        let mapped = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
            throw .system(SystemError("mmap \(size) bytes", .current))
        }
        // A lone huge page would cost 2 MiB for the first byte.
        unsafe madvise(mapped, size, MADV_NOHUGEPAGE)
        unsafe madvise(mapped, size, MADV_DONTDUMP)
        unsafe base = unsafe mapped
        count = size
    }

    deinit { unsafe munmap(base, count) }

    /// All of it. Valid as long as the arena is.
    package var bytes: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: base, count: count)
    }

    /// A part of it, which must be inside.
    @inline(__always)
    package func bytes(at offset: Int, count length: Int) -> UnsafeMutableRawBufferPointer {
        precondition(offset >= 0 && length >= 0 && offset &+ length <= count)
        return unsafe UnsafeMutableRawBufferPointer(start: base + offset, count: length)
    }
}
