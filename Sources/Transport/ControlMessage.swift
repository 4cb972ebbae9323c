import CLinux
import Glibc

/// Ancillary data of one number (cmsg(3)).
///
/// ```
///  0                 8            12          16
///  | cmsg_len u64    | level i32  | type i32  | data, padded to 8 |
/// ```
enum ControlMessage {
    private static let headerSize = 16
    /// CMSG_SPACE for a number of up to 8 bytes.
    static let space = 24

    /// Writes one message of `space` bytes.
    static func store(_ level: Int32, _ type: Int32, _ value: Int32, to buffer: UnsafeMutableRawBufferPointer) {
        unsafe buffer.storeBytes(of: headerSize + 4, toByteOffset: 0, as: Int.self)
        unsafe buffer.storeBytes(of: level, toByteOffset: 8, as: Int32.self)
        unsafe buffer.storeBytes(of: type, toByteOffset: 12, as: Int32.self)
        unsafe buffer.storeBytes(of: Int64(value), toByteOffset: 16, as: Int64.self)
    }

    /// The size of the segments of one send (UDP_SEGMENT, a u16).
    static func storeSegmentSize(_ size: Int, to buffer: UnsafeMutableRawBufferPointer) {
        unsafe buffer.storeBytes(of: headerSize + 2, toByteOffset: 0, as: Int.self)
        unsafe buffer.storeBytes(of: Int32(IPPROTO_UDP), toByteOffset: 8, as: Int32.self)
        unsafe buffer.storeBytes(of: CLinux_UDP_SEGMENT, toByteOffset: 12, as: Int32.self)
        unsafe buffer.storeBytes(of: UInt64(UInt16(truncatingIfNeeded: size)), toByteOffset: 16, as: UInt64.self)
    }

    /// What came with one receive.
    struct Received {
        /// The size of its datagrams (UDP_GRO, an int).
        var segmentSize: Int?
        /// When the kernel took it in, in nanoseconds of CLOCK_REALTIME (SO_TIMESTAMPNS, a timespec).
        var arrival: Int64?
    }

    static func load(_ buffer: UnsafeRawBufferPointer) -> Received {
        var received = Received()
        var offset = 0
        while offset &+ headerSize <= buffer.count {
            let length = unsafe buffer.load(fromByteOffset: offset, as: Int.self)
            guard length >= headerSize, length <= buffer.count &- offset else { break }
            let level = unsafe buffer.load(fromByteOffset: offset &+ 8, as: Int32.self)
            let type = unsafe buffer.load(fromByteOffset: offset &+ 12, as: Int32.self)
            if level == Int32(IPPROTO_UDP), type == CLinux_UDP_GRO, length >= headerSize &+ 4 {
                received.segmentSize = Int(unsafe buffer.load(fromByteOffset: offset &+ headerSize, as: Int32.self))
            } else if level == SOL_SOCKET, type == SO_TIMESTAMPNS, length >= headerSize &+ 16 {
                let seconds = unsafe buffer.load(fromByteOffset: offset &+ headerSize, as: Int64.self)
                let nanoseconds = unsafe buffer.load(fromByteOffset: offset &+ headerSize &+ 8, as: Int64.self)
                received.arrival = seconds &* 1_000_000_000 &+ nanoseconds
            }
            offset &+= (length &+ 7) & ~7
        }
        return received
    }
}
