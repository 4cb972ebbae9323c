/// Relay frames on a stream: any number of them, whole, in each message (a WebSocket binary message).
///
///     length (2, network order) | frame, as in a datagram | length | frame | …
package enum StreamFrames {
    package static let lengthSize = 2
    /// What a frame may be: the payload of an inner packet on a jumbo underlay, and headers.
    package static let maximumFrame = 9_728
    /// What a message may be; larger ones end the stream.
    package static let maximumMessage = 1 << 16

    /// The frame at `offset` of a message, which is moved behind it; nil at the message's end.
    ///
    /// - Throws: `.truncated` for a length of 0, above `maximumFrame` or beyond the message.
    package static func next(
        in message: UnsafeMutableRawBufferPointer, at offset: inout Int
    ) throws(FrameFault) -> UnsafeMutableRawBufferPointer? {
        guard offset < message.count else { return nil }
        guard message.count &- offset > lengthSize else { throw .truncated }
        let length = unsafe Int(message[offset]) << 8 | Int(message[offset &+ 1])
        let start = offset &+ lengthSize
        guard (1...maximumFrame).contains(length), length <= message.count &- start else { throw .truncated }
        offset = start &+ length
        return unsafe UnsafeMutableRawBufferPointer(rebasing: message[start..<offset])
    }

    /// A message of one frame.
    package static func message(_ frame: [UInt8]) -> [UInt8] {
        [UInt8(truncatingIfNeeded: frame.count >> 8), UInt8(truncatingIfNeeded: frame.count)] + frame
    }
}
