/// Datagrams as they come in, each message in a buffer of a pool: whoever forwards it keeps the buffer until it was sent, and
/// copies nothing.
///
/// The pool's buffers have `bufferSize` bytes. One thread.
package struct PooledReceiveBatch: ~Copyable, Sendable {
    private let tables: MessageTables
    private var buffers: [UInt32]
    private var errors: UInt64 = 0

    /// Messages of the last `receive`: their buffers are the caller's.
    package private(set) var count = 0

    private static let messageSize = 65536
    /// Not a multiple of the page size: else the first bytes of all buffers share one set of the cache.
    package static let bufferSize = messageSize + 320

    package init(messages capacity: Int = 32) {
        tables = MessageTables(messages: capacity, controlSize: MessageTables.receivingControl)
        buffers = Array(repeating: 0, count: capacity)
    }

    /// Takes what is there, at most `limit` messages, the batch's capacity and as many as the pool has buffers for, and returns
    /// how many. Each one's buffer is from now on the caller's to give back.
    package mutating func receive(from raw: Int32, into pool: inout PacketPool, limit: Int = .max) -> Int {
        var lent = 0
        while lent < min(limit, tables.capacity), let buffer = pool.take() {
            buffers[lent] = buffer
            unsafe tables.setBuffer(lent, memory(lent, in: pool))
            tables.lend(lent)
            lent &+= 1
        }
        count = lent == 0 || raw < 0 ? 0 : tables.receive(lent, from: raw, errors: &errors)
        // The next to be taken are the same again.
        for index in (count..<lent).reversed() { pool.give(buffers[index]) }
        return count
    }

    /// Which buffer message `index`, below `count`, is in.
    package borrowing func buffer(_ index: Int) -> UInt32 {
        precondition(index >= 0 && index < count)
        return buffers[index]
    }

    /// Message `index`, below `count`; nil for one without a usable source, cut short or empty.
    package borrowing func message(_ index: Int, in pool: borrowing PacketPool) -> ReceivedMessage? {
        precondition(index >= 0 && index < count)
        return unsafe tables.message(index, in: memory(index, in: pool))
    }

    private func memory(_ index: Int, in pool: borrowing PacketPool) -> UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(rebasing: pool.bytes(buffers[index])[..<Self.messageSize])
    }
}
