package import NIOCore
import Synchronization

/// Cuts a stream into messages, and drops and counts what it does not know.
///
/// A frame of a known type that does not parse, or whose length is out of bounds, ends the connection: what follows cannot
/// be trusted to be frames.
package struct MessageDecoder: NIOSingleStepByteToMessageDecoder {
    package typealias InboundOut = Message

    package static let lengthLimit = 8190

    private let counters: FrameCounters

    package init(counters: FrameCounters) { self.counters = counters }

    package mutating func decode(buffer: inout ByteBuffer) throws -> Message? {
        while let length = buffer.getInteger(at: buffer.readerIndex, as: UInt16.self) {
            guard (2...Self.lengthLimit).contains(Int(length)) else { throw FrameError.length(Int(length)) }
            guard buffer.readableBytes >= 2 + Int(length) else { return nil }
            buffer.moveReaderIndex(forwardBy: 2)
            guard var frame = buffer.readSlice(length: Int(length)), let type = frame.readInteger(as: UInt8.self),
                let version = frame.readInteger(as: UInt8.self)
            else { return nil }
            guard version == Message.version, (0xC0...0xD9).contains(type) || (0xDE...0xE1).contains(type) else {
                counters.countUnknown()
                continue
            }
            guard let message = Message(type: type, body: frame) else { throw FrameError.body(type: type) }
            return message
        }
        return nil
    }

    package mutating func decodeLast(buffer: inout ByteBuffer, seenEOF: Bool) throws -> Message? {
        try decode(buffer: &buffer)
    }
}

/// Writes messages as frames.
package struct MessageEncoder: MessageToByteEncoder {
    package typealias OutboundIn = Message

    package init() {}

    package func encode(data message: Message, out: inout ByteBuffer) {
        let start = out.writerIndex
        out.writeMultipleIntegers(UInt16(0), message.type, Message.version)
        message.writeBody(to: &out)
        out.setInteger(UInt16(clamping: out.writerIndex - start - 2), at: start)
    }
}

/// What a connection's decoder threw.
package enum FrameError: Error, Equatable, CustomStringConvertible {
    case length(Int)
    case body(type: UInt8)

    package var description: String {
        switch self {
        case .length(let length): "a frame of \(length) bytes"
        case .body(let type): "a malformed frame of type \(type)"
        }
    }
}

/// Counts of dropped frames, shared by the connections of a client or server. Safe from any thread.
package final class FrameCounters: Sendable {
    private let unknown = Atomic<UInt64>(0)

    package init() {}

    /// Frames of a type or version that this build does not know.
    package var unknownFrames: UInt64 { unknown.load(ordering: .relaxed) }

    func countUnknown() { unknown.add(1, ordering: .relaxed) }
}
