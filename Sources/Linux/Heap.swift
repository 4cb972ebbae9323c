import CLinux
import Glibc

/// glibc's malloc, kept small.
package enum Heap {
    /// To be called first. By default there are as many heaps as eight times the processors, each of which keeps what its
    /// threads once used; and a large block that was freed makes later ones come from the heap, where they leave holes.
    package static func configure() {
        _ = mallopt(M_ARENA_MAX, 1)
        _ = mallopt(M_MMAP_THRESHOLD, 128 << 10)
        _ = mallopt(M_TRIM_THRESHOLD, 128 << 10)
    }

    /// Gives free pages in the heap's midst back to the system: a burst of joins and lookups leaves some hundreds.
    package static func trim() { _ = malloc_trim(0) }
}
