/// The bytes of one packet, read and written in network order at offsets its user has checked.
@safe
@frozen
@usableFromInline
struct PacketBytes {
    // Safe: no accessor checks its range in release builds (debug builds trap); `PacketLayout` proves every offset that
    // is used against `count` before. The memory belongs to the caller and outlives the value.
    @usableFromInline let base: UnsafeMutableRawPointer
    @usableFromInline let count: Int

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer, count: Int) {
        unsafe self.base = unsafe base
        self.count = count
    }

    /// The same bytes up to `count`, which is not larger than before.
    @inline(__always)
    func prefix(_ count: Int) -> PacketBytes {
        assert(count <= self.count)
        return unsafe PacketBytes(base, count: count)
    }

    @inline(__always)
    func byte(_ offset: Int) -> UInt8 {
        assert(offset >= 0 && offset &+ 1 <= count)
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    @inline(__always)
    func setByte(_ offset: Int, _ value: UInt8) {
        assert(offset >= 0 && offset &+ 1 <= count)
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }

    @inline(__always)
    func word16(_ offset: Int) -> UInt16 { UInt16(bigEndian: raw16(offset)) }

    @inline(__always)
    func word32(_ offset: Int) -> UInt32 { UInt32(bigEndian: raw32(offset)) }

    @inline(__always)
    func setWord16(_ offset: Int, _ value: UInt16) { setRaw16(offset, value.bigEndian) }

    @inline(__always)
    func setWord32(_ offset: Int, _ value: UInt32) {
        assert(offset >= 0 && offset &+ 4 <= count)
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
    }

    // As they lie in memory: what ones' complement sums and comparisons need.

    @inline(__always)
    func raw16(_ offset: Int) -> UInt16 {
        assert(offset >= 0 && offset &+ 2 <= count)
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
    }

    @inline(__always)
    func setRaw16(_ offset: Int, _ value: UInt16) {
        assert(offset >= 0 && offset &+ 2 <= count)
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt16.self)
    }

    @inline(__always)
    func raw32(_ offset: Int) -> UInt32 {
        assert(offset >= 0 && offset &+ 4 <= count)
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    }

    @inline(__always)
    func raw64(_ offset: Int) -> UInt64 {
        assert(offset >= 0 && offset &+ 8 <= count)
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// The unfolded ones' complement sum of `length` bytes at `offset`.
    @inline(__always)
    func sum(_ offset: Int, _ length: Int) -> UInt64 {
        assert(offset >= 0 && length >= 0 && offset &+ length <= count)
        return unsafe Checksum.sum(UnsafeRawPointer(base + offset), length)
    }
}
