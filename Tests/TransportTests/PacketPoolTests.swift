import Testing
import Transport

@Suite struct PacketPoolTests {
    @Test func `each buffer is taken once and comes back`() throws {
        var pool = try PacketPool(buffers: 3, bufferSize: 2048)
        var taken: Set<UInt32> = []
        while let buffer = pool.take() {
            taken.insert(buffer)
            unsafe pool.bytes(buffer).initializeMemory(as: UInt8.self, repeating: UInt8(buffer + 1))
        }
        #expect(taken == [0, 1, 2])
        for buffer in taken {
            let bytes = unsafe Array(pool.bytes(buffer))
            #expect(bytes == [UInt8](repeating: UInt8(buffer + 1), count: 2048))
        }
        pool.give(1)
        let again = pool.take()
        #expect(again == 1)
        let none = pool.take()
        #expect(none == nil)
        #expect(pool.available == 0)
    }

    @Test func `an arena is page-aligned, zero and as large as asked`() throws {
        let arena = try Arena(byteCount: 5000)
        #expect(arena.count == 8192)
        let address = unsafe UInt(bitPattern: arena.bytes.baseAddress)
        #expect(address % 4096 == 0)
        let isZero = unsafe arena.bytes.allSatisfy { $0 == 0 }
        #expect(isZero)
    }
}
