import Sodium

// The four messages (WireGuard paper 5.4). All numbers are little-endian; the three bytes after the type are zero.
//
//   initiation, 148 bytes                            response, 92 bytes
//   0    type 1                          4           0    type 2                          4
//   4    sender index                    4           4    sender index                    4
//   8    ephemeral key                  32           8    receiver index                  4
//   40   static key, sealed             48           12   ephemeral key                  32
//   88   TAI64N, sealed                 28           44   nothing, sealed                16
//   116  mac1                           16           60   mac1                           16
//   132  mac2                           16           76   mac2                           16
//
//   cookie reply, 64 bytes                           transport data, 32 bytes and more
//   0    type 3                          4           0    type 4                          4
//   4    receiver index                  4           4    receiver index                  4
//   8    nonce                          24           8    counter                         8
//   32   cookie, sealed                 32           16   packet and padding, sealed    n + 16

/// The kind of a message: its first four bytes.
package enum MessageType: UInt32, Sendable {
    case initiation = 1
    case response = 2
    case cookieReply = 3
    case transport = 4

    /// What `datagram` is, by its first four bytes and its length; nil for what cannot be WireGuard's.
    package init?(_ datagram: RawSpan) {
        guard datagram.byteCount >= 4, let type = MessageType(rawValue: datagram.littleEndian32(at: 0)) else {
            return nil
        }
        let isValid =
            switch type {
            case .initiation: datagram.byteCount == Initiation.size
            case .response: datagram.byteCount == Response.size
            case .cookieReply: datagram.byteCount == CookieReply.size
            case .transport: datagram.byteCount >= TransportHeader.minimumSize
            }
        guard isValid else { return nil }
        self = type
    }
}

/// Where the fields of an initiation are.
enum Initiation {
    static let size = 148
    static let senderOffset = 4
    static let noise = 8..<116
}

/// Where the fields of a response are.
enum Response {
    static let size = 92
    static let senderOffset = 4
    static let receiverOffset = 8
    static let noise = 12..<60
}

/// The end of both handshake messages.
enum MessageMACs {
    static let size = 32
    static let macSize = 16
}

/// A cookie reply's fields.
struct CookieReply {
    static let size = 64

    let receiver: UInt32
    let nonce: [UInt8]
    let sealedCookie: [UInt8]

    /// `message` has `size` bytes.
    init(_ message: RawSpan) {
        receiver = message.littleEndian32(at: 4)
        nonce = message.bytes(8..<32)
        sealedCookie = message.bytes(32..<64)
    }

    init(receiver: UInt32, nonce: [UInt8], sealedCookie: [UInt8]) {
        self.receiver = receiver
        self.nonce = nonce
        self.sealedCookie = sealedCookie
    }

    var bytes: [UInt8] {
        var message: [UInt8] = []
        message.reserveCapacity(Self.size)
        message.append(littleEndian: MessageType.cookieReply.rawValue)
        message.append(littleEndian: receiver)
        return message + nonce + sealedCookie
    }
}

/// The first 16 bytes of a transport data message.
package struct TransportHeader {
    package static let size = 16
    /// A header and the tag of an empty packet.
    package static let minimumSize = size + ChaChaPoly.tagSize
    /// What sealing adds to a packet, besides padding.
    package static let overhead = size + ChaChaPoly.tagSize

    package let receiver: UInt32
    package let counter: UInt64

    package init(receiver: UInt32, counter: UInt64) {
        self.receiver = receiver
        self.counter = counter
    }

    /// `message` has at least `size` bytes.
    package init(_ message: UnsafeRawPointer) {
        receiver = UInt32(littleEndian: unsafe message.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        counter = UInt64(littleEndian: unsafe message.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    /// Writes the 16 bytes to `message`.
    package func store(to message: UnsafeMutableRawPointer) {
        unsafe message.storeBytes(of: MessageType.transport.rawValue.littleEndian, as: UInt32.self)
        unsafe message.storeBytes(of: receiver.littleEndian, toByteOffset: 4, as: UInt32.self)
        unsafe message.storeBytes(of: counter.littleEndian, toByteOffset: 8, as: UInt64.self)
    }
}

extension RawSpan {
    func littleEndian32(at offset: Int) -> UInt32 {
        UInt32(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    func bytes(_ range: Range<Int>) -> [UInt8] {
        unsafe extracting(range).withUnsafeBytes { unsafe Array($0) }
    }

    func bytes16(at offset: Int) -> Bytes16 {
        unsafe extracting(offset..<offset + 16).withUnsafeBytes { unsafe Bytes16(loading: $0.baseAddress!) }
    }
}

extension [UInt8] {
    mutating func append(littleEndian value: UInt32) {
        unsafe Swift.withUnsafeBytes(of: value.littleEndian) { unsafe append(contentsOf: $0) }
    }

    /// Lends the bytes as a raw span.
    func withRawSpan<Result, Failure: Error>(_ body: (RawSpan) throws(Failure) -> Result) throws(Failure) -> Result {
        try body(unsafe span.bytes)
    }
}
