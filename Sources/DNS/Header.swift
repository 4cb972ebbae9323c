/// A message's first twelve bytes (RFC 1035 4.1.1, RFC 4035 3.1.6).
package struct Header: Equatable, Sendable {
    package var id: UInt16
    package var flags: UInt16
    package var questions: UInt16
    package var answers: UInt16
    package var authorities: UInt16
    package var additionals: UInt16

    package static let response: UInt16 = 0x8000
    package static let authoritative: UInt16 = 0x0400
    package static let truncated: UInt16 = 0x0200
    package static let recursionDesired: UInt16 = 0x0100
    package static let recursionAvailable: UInt16 = 0x0080
    package static let checkingDisabled: UInt16 = 0x0010

    package init(reading reader: inout MessageReader) throws(MessageError) {
        id = try reader.readUInt16()
        flags = try reader.readUInt16()
        questions = try reader.readUInt16()
        answers = try reader.readUInt16()
        authorities = try reader.readUInt16()
        additionals = try reader.readUInt16()
    }

    package var isResponse: Bool { flags & Self.response != 0 }
    package var opcode: UInt8 { UInt8(flags >> 11 & 15) }
    package var code: ResponseCode { ResponseCode(rawValue: UInt8(flags & 15)) }
    package var isTruncated: Bool { flags & Self.truncated != 0 }
}

/// A TYPE or QTYPE; unknown ones are kept.
package struct RecordType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let a = RecordType(rawValue: 1)
    package static let soa = RecordType(rawValue: 6)
    package static let ptr = RecordType(rawValue: 12)
    package static let aaaa = RecordType(rawValue: 28)
    /// RFC 2782.
    package static let srv = RecordType(rawValue: 33)
    /// RFC 6891.
    package static let opt = RecordType(rawValue: 41)
    package static let any = RecordType(rawValue: 255)
}

/// An RCODE; those above 15 take an OPT record (RFC 6891 6.1.3).
package struct ResponseCode: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let noError = ResponseCode(rawValue: 0)
    package static let formatError = ResponseCode(rawValue: 1)
    package static let serverFailure = ResponseCode(rawValue: 2)
    package static let nameError = ResponseCode(rawValue: 3)
    package static let notImplemented = ResponseCode(rawValue: 4)
    package static let refused = ResponseCode(rawValue: 5)
    package static let badVersion = ResponseCode(rawValue: 16)
}
