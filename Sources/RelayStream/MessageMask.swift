package import NIOCore
package import NIOWebSocket

/// The mask of what a WebSocket client sends (RFC 6455 5.3), eight bytes at a time.
package enum MessageMask {
    /// `buffer` with `key` applied, which masks and unmasks, in memory of its own with `headroom` free bytes in front.
    package static func apply(
        _ key: WebSocketMaskingKey, to buffer: ByteBuffer, headroom: Int = 0, _ allocator: ByteBufferAllocator
    ) -> ByteBuffer {
        let count = buffer.readableBytes
        var result = allocator.buffer(capacity: headroom + count)
        result.moveWriterIndex(to: headroom)
        result.moveReaderIndex(to: headroom)
        let word = key.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let wide = (word << 32 | word).bigEndian
        unsafe result.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
            unsafe buffer.withUnsafeReadableBytes { source in
                var index = 0
                while index &+ 8 <= count {
                    let value = unsafe source.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                    unsafe target.storeBytes(of: value ^ wide, toByteOffset: index, as: UInt64.self)
                    index &+= 8
                }
                while index < count {
                    let shift = UInt64(index & 7) &* 8
                    unsafe target[index] = unsafe source[index] ^ UInt8(truncatingIfNeeded: wide.littleEndian >> shift)
                    index &+= 1
                }
            }
            return count
        }
        return result
    }
}
