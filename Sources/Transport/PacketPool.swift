/// Buffers of one size for packets that must be kept a while, as those that wait for a handshake.
///
/// Taken and given back by number, in constant time. Untouched buffers cost no memory. One thread at a time.
package struct PacketPool: ~Copyable, Sendable {
    private let arena: Arena
    private let bufferSize: Int
    /// Numbers of the free buffers; the last is taken next, so that few are ever touched.
    private var free: [UInt32]
    private var isTaken: [Bool]

    package init(buffers: Int, bufferSize: Int) throws(TransportError) {
        self.bufferSize = bufferSize
        arena = try Arena(byteCount: buffers * bufferSize)
        free = (0..<UInt32(buffers)).reversed()
        isTaken = Array(repeating: false, count: buffers)
    }

    /// Buffers that can be taken.
    package var available: Int { free.count }

    /// The number of a buffer that is the caller's until it is given back; nil when there is none.
    package mutating func take() -> UInt32? {
        guard let buffer = free.popLast() else { return nil }
        isTaken[Int(buffer)] = true
        return buffer
    }

    /// Gives a taken buffer back.
    package mutating func give(_ buffer: UInt32) {
        precondition(isTaken[Int(buffer)], "a buffer is given back once")
        isTaken[Int(buffer)] = false
        free.append(buffer)
    }

    /// The memory of a buffer.
    package borrowing func bytes(_ buffer: UInt32) -> UnsafeMutableRawBufferPointer {
        precondition(isTaken[Int(buffer)], "only a taken buffer is used")
        return unsafe arena.bytes(at: Int(buffer) * bufferSize, count: bufferSize)
    }
}
