package import Addressing

/// Why bytes are not a STUN message that can be used.
package enum MessageFault: Error, Hashable, Sendable {
    /// Without the two zero bits or the magic cookie in front: some other protocol.
    case notSTUN
    /// Shorter than a header, or than an attribute says.
    case truncated
    /// The header's length is not that of the datagram, or not a multiple of four.
    case wrongLength
    /// A known attribute whose value is malformed.
    case malformedAttribute(AttributeType)
    /// The check value does not fit, or something follows it.
    case wrongFingerprint
}

/// A STUN message with the attributes that binding needs (RFC 8489 section 5, RFC 5780 section 7).
///
///      0                   1                   2                   3
///      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |0 0|     STUN Message Type     |  Length (attributes, bytes)   |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |                   Magic Cookie 0x2112A442                     |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |                  Transaction ID (96 bits)                     |
///     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///     |  Attributes: type (16), length (16), value, padding to 32 bits |
///
/// A value: reading one allocates only where a message lists unknown attributes. Of a repeated attribute the first
/// counts, and what follows MESSAGE-INTEGRITY is ignored except the fingerprint (section 14).
package struct Message: Hashable, Sendable {
    package enum Class: UInt8, Sendable { case request, indication, success, error }

    package static let magicCookie: UInt32 = 0x2112_a442
    package static let headerSize = 20
    /// The only method here.
    package static let bindingMethod: UInt16 = 1
    /// How many attribute types a list in a message holds at most.
    static let maximumListed = 8

    package var messageClass: Class
    package var method: UInt16
    package var transaction: TransactionID
    /// The magic cookie, or what a classic client has in its place: the first part of its transaction id (RFC 3489).
    package let cookie: UInt32
    package var xorMappedAddress: Endpoint?
    package var mappedAddress: Endpoint?
    /// RFC 5780: where the server sent from, and its other address and port.
    package var responseOrigin: Endpoint?
    package var otherAddress: Endpoint?
    /// RFC 5780: the flags, of which 4 asks for another address and 2 for another port.
    package var changeRequest: UInt32?
    /// RFC 5780: the port that the answer shall go to, and how much padding there was.
    package var responsePort: UInt16?
    package var paddingSize: Int?
    /// 300…699.
    package var errorCode: UInt16?
    /// What an error response says the server did not know.
    package var unknownAttributes: [AttributeType] = []
    /// Comprehension-required types in this message that we don't know: the first eight, each once.
    package var notUnderstood: [AttributeType] = []
    package var hasFingerprint = false

    /// Whether it is from a client of RFC 3489, which knows no XOR-MAPPED-ADDRESS.
    package var isClassic: Bool { cookie != Self.magicCookie }

    /// Whether a datagram is STUN: two zero bits, the cookie, a whole header.
    package static func isSTUN(_ datagram: RawSpan) -> Bool {
        guard datagram.byteCount >= headerSize, let type = datagram.bigEndian(UInt16.self, at: 0) else { return false }
        return type >> 14 == 0 && datagram.bigEndian(UInt32.self, at: 4) == magicCookie
    }

    /// Whether a datagram is a binding request of a classic client, which has no cookie (RFC 3489 section 11.1). On a
    /// port with other protocols this is too weak a sign.
    package static func isClassicRequest(_ datagram: RawSpan) -> Bool {
        datagram.bigEndian(UInt16.self, at: 0) == bindingMethod
            && datagram.bigEndian(UInt16.self, at: 2).map { headerSize + Int($0) } == datagram.byteCount
            && datagram.bigEndian(UInt32.self, at: 4) != magicCookie
    }

    /// The message that fills `datagram`. A fingerprint is checked where there is one.
    ///
    /// - Parameter takingClassic: whether a request without the cookie is one, too.
    package init(_ datagram: RawSpan, takingClassic: Bool = false) throws(MessageFault) {
        guard datagram.byteCount >= Self.headerSize else { throw .truncated }
        guard Self.isSTUN(datagram) || (takingClassic && Self.isClassicRequest(datagram)),
            let type = datagram.bigEndian(UInt16.self, at: 0), let length = datagram.bigEndian(UInt16.self, at: 2),
            let cookie = datagram.bigEndian(UInt32.self, at: 4),
            let high = datagram.bigEndian(UInt32.self, at: 8), let low = datagram.bigEndian(UInt64.self, at: 12)
        else { throw .notSTUN }
        guard length % 4 == 0, Self.headerSize + Int(length) == datagram.byteCount else { throw .wrongLength }
        guard let messageClass = Class(rawValue: UInt8(type >> 7 & 2 | type >> 4 & 1)) else { throw .notSTUN }
        self.messageClass = messageClass
        method = type & 0x000f | type >> 1 & 0x0070 | type >> 2 & 0x0f80
        transaction = TransactionID(high: high, low: low)
        self.cookie = cookie
        try readAttributes(of: datagram)
    }

    private mutating func readAttributes(of datagram: RawSpan) throws(MessageFault) {
        var offset = Self.headerSize
        var isProtected = false
        while offset < datagram.byteCount {
            guard let rawType = datagram.bigEndian(UInt16.self, at: offset),
                let length = datagram.bigEndian(UInt16.self, at: offset + 2).map(Int.init),
                datagram.byteCount - offset - 4 >= (length + 3) & ~3
            else { throw .truncated }
            let type = AttributeType(rawValue: rawType)
            let value = datagram.extracting(offset + 4..<offset + 4 + length)
            if type == .fingerprint {
                guard length == 4, offset + Fingerprint.attributeSize == datagram.byteCount,
                    value.bigEndian(UInt32.self, at: 0) == Fingerprint.value(of: datagram, count: offset)
                else { throw .wrongFingerprint }
                hasFingerprint = true
            } else if !isProtected {
                try read(type, value)
            }
            isProtected = isProtected || type == .messageIntegrity || type == .messageIntegritySHA256
            offset += 4 + (length + 3) & ~3
        }
    }

    private mutating func read(_ type: AttributeType, _ value: RawSpan) throws(MessageFault) {
        switch type {
        case .xorMappedAddress: try readEndpoint(&xorMappedAddress, type, value, mask: transaction)
        case .mappedAddress: try readEndpoint(&mappedAddress, type, value, mask: nil)
        case .responseOrigin: try readEndpoint(&responseOrigin, type, value, mask: nil)
        case .otherAddress: try readEndpoint(&otherAddress, type, value, mask: nil)
        case .changeRequest:
            guard value.byteCount == 4, let flags = value.bigEndian(UInt32.self, at: 0) else {
                throw .malformedAttribute(type)
            }
            changeRequest = changeRequest ?? flags
        case .responsePort:
            guard value.byteCount == 4 || value.byteCount == 2, let port = value.bigEndian(UInt16.self, at: 0) else {
                throw .malformedAttribute(type)
            }
            responsePort = responsePort ?? port
        case .padding: paddingSize = paddingSize ?? value.byteCount
        case .errorCode:
            guard let hundreds = value.bigEndian(UInt8.self, at: 2), let rest = value.bigEndian(UInt8.self, at: 3),
                (3...6).contains(hundreds & 7), rest < 100
            else { throw .malformedAttribute(type) }
            errorCode = errorCode ?? UInt16(hundreds & 7) * 100 + UInt16(rest)
        case .unknownAttributes:
            guard value.byteCount % 2 == 0 else { throw .malformedAttribute(type) }
            for offset in stride(from: 0, to: value.byteCount, by: 2) {
                guard let unknown = value.bigEndian(UInt16.self, at: offset) else { break }
                Self.list(AttributeType(rawValue: unknown), in: &unknownAttributes)
            }
        default:
            if !type.isKnown { Self.list(type, in: &notUnderstood) }
        }
    }

    private func readEndpoint(
        _ field: inout Endpoint?, _ type: AttributeType, _ value: RawSpan, mask: TransactionID?
    ) throws(MessageFault) {
        guard let endpoint = AddressAttribute.decode(value, mask: mask) else { throw .malformedAttribute(type) }
        field = field ?? endpoint
    }

    private static func list(_ type: AttributeType, in types: inout [AttributeType]) {
        if types.count < maximumListed, !types.contains(type) { types.append(type) }
    }
}
