import NIOCore
import NIOWebSocket

/// A WebSocket frame as a client sends it: masked under a fresh key (RFC 6455 5.2, 5.3), whole in one buffer.
enum ClientFrame {
    private static let longestHeader = 14

    /// - Parameter payload: up to 65,535 bytes.
    static func encode(
        _ opcode: WebSocketOpcode, _ payload: ByteBuffer, _ allocator: ByteBufferAllocator
    ) -> ByteBuffer {
        let key = WebSocketMaskingKey.random()
        var frame = MessageMask.apply(key, to: payload, headroom: longestHeader, allocator)
        let length = payload.readableBytes
        let size = length <= 125 ? 6 : 8
        let start = frame.readerIndex - size
        frame.moveReaderIndex(to: start)
        frame.setInteger(0x80 | UInt8(webSocketOpcode: opcode), at: start)
        if length <= 125 {
            frame.setInteger(0x80 | UInt8(length), at: start + 1)
        } else {
            frame.setInteger(0x80 | UInt8(126), at: start + 1)
            frame.setInteger(UInt16(clamping: length), at: start + 2)
        }
        frame.setBytes(key, at: start + size - 4)
        return frame
    }
}
