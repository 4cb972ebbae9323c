import CSodium
import Glibc
import Synchronization

/// Where the process keeps its 32-byte secrets: page-aligned mappings that are locked in memory where the limit allows
/// it and left out of core dumps, in slots that are wiped when they are freed.
///
/// One slab of 64 KiB holds 2,048 keys; another is mapped only when all are full. Safe from any thread.
package final class SecretSlab: Sendable {
    package static let slotSize = 32
    package static let slabSize = 65536

    /// The process's slab. A secret has one owner (`SecretKey`); the slab only owns the memory.
    package static let shared = SecretSlab()

    @safe private struct State: @unchecked Sendable {
        // Safe: the pointers are only touched under the mutex, and never unmapped.
        var free: [UnsafeMutableRawPointer] = unsafe []
        var slabs = 0
        var lockedSlabs = 0
    }

    private let state = Mutex(State())

    /// How many slabs are mapped, and how many of them mlock(2) accepted (RLIMIT_MEMLOCK): reported at start.
    package var report: (slabs: Int, locked: Int) { state.withLock { ($0.slabs, $0.lockedSlabs) } }

    func allocate() throws(SodiumError) -> UnsafeMutableRawPointer {
        let slot = state.withLock { state -> SendablePointer? in
            if unsafe state.free.isEmpty { Self.grow(&state) }
            return unsafe state.free.popLast().map { unsafe SendablePointer($0) }
        }
        guard let slot else { throw .secretMemoryExhausted }
        return unsafe slot.pointer
    }

    /// Wipes the slot and gives it back.
    func free(_ slot: UnsafeMutableRawPointer) {
        unsafe sodium_memzero(slot, Self.slotSize)
        let slot = unsafe SendablePointer(slot)
        state.withLock { unsafe $0.free.append(slot.pointer) }
    }

    private static func grow(_ state: inout State) {
        let mapping = unsafe mmap(nil, slabSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let base = unsafe mapping, unsafe base != MAP_FAILED else { return }
        state.slabs += 1
        if unsafe mlock(base, slabSize) == 0 { state.lockedSlabs += 1 }
        _ = unsafe madvise(base, slabSize, MADV_DONTDUMP)
        for offset in stride(from: slabSize - slotSize, through: 0, by: -slotSize) {
            unsafe state.free.append(base + offset)
        }
    }

    @safe private struct SendablePointer: @unchecked Sendable {
        // Safe: carries a slot across the lock's closure; the slot has one owner.
        let pointer: UnsafeMutableRawPointer
        init(_ pointer: UnsafeMutableRawPointer) { unsafe self.pointer = pointer }
    }
}

/// A 32-byte secret in the slab: a private, preshared, session or chaining key.
///
/// Owned once and wiped at the end of its life. The zero value is not a valid key; each init says what it holds.
@safe package struct SecretKey: ~Copyable, @unchecked Sendable {
    // Safe: the slot belongs to this value alone; mutation needs exclusive access to it.
    private let slot: UnsafeMutableRawPointer

    /// 32 zero bytes.
    package init() throws(SodiumError) { unsafe slot = try SecretSlab.shared.allocate() }

    /// A copy of 32 bytes that the caller wipes.
    package init(copying bytes: Span<UInt8>) throws(SodiumError) {
        guard bytes.count == 32 else { throw .wrongLength(what: "secret key", expected: 32, got: bytes.count) }
        try self.init()
        let target = unsafe slot
        unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0.baseAddress!, byteCount: 32) }
    }

    /// A copy of 32 bytes that the caller wipes.
    package init(copying bytes: [UInt8]) throws(SodiumError) { try self.init(copying: bytes.span) }

    /// 32 bytes drawn from `random`.
    package init(using random: inout some RandomNumberGenerator) throws(SodiumError) {
        try self.init()
        for offset in stride(from: 0, to: 32, by: 8) {
            unsafe slot.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
    }

    deinit { unsafe SecretSlab.shared.free(slot) }

    /// Another slot with the same bytes.
    package borrowing func copy() throws(SodiumError) -> SecretKey {
        let other = try SecretKey()
        unsafe other.slot.copyMemory(from: slot, byteCount: 32)
        return other
    }

    /// Lends the 32 bytes; the pointer is valid only inside `body`.
    package borrowing func withBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafePointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafePointer(slot.assumingMemoryBound(to: UInt8.self)))
    }

    package mutating func withMutableBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeMutablePointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(slot.assumingMemoryBound(to: UInt8.self))
    }

    package var isZero: Bool { unsafe sodium_is_zero(slot.assumingMemoryBound(to: UInt8.self), 32) == 1 }

    /// The bytes, for writing to a key file or the configuration protocol: the caller wipes them.
    package borrowing func exportBytes() -> [UInt8] { unsafe Array(UnsafeRawBufferPointer(start: slot, count: 32)) }
}
