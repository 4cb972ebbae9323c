/// Reads a message's parts, front to back, and believes none of its lengths.
package struct MessageReader {
    package let bytes: [UInt8]
    package private(set) var offset: Int

    package static let headerLength = 12

    package init(_ bytes: [UInt8], at offset: Int = 0) {
        self.bytes = bytes
        self.offset = offset
    }

    package mutating func readUInt16() throws(MessageError) -> UInt16 {
        guard bytes.count - offset >= 2 else { throw .truncated }
        defer { offset += 2 }
        return UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
    }

    package mutating func readUInt32() throws(MessageError) -> UInt32 {
        let high = try readUInt16()
        return UInt32(high) << 16 | UInt32(try readUInt16())
    }

    package mutating func skip(_ count: Int) throws(MessageError) {
        guard bytes.count - offset >= count else { throw .truncated }
        offset += count
    }

    /// A name with its pointers followed (RFC 1035 4.1.4). Each pointer leads further back than the part that it ends,
    /// so that no message, however made, keeps the reader busy; and none leads into the header.
    package mutating func readName() throws(MessageError) -> DomainName {
        var wire: [UInt8] = []
        var position = offset
        var start = offset
        var end: Int?
        while true {
            guard position < bytes.count else { throw .truncated }
            let length = Int(bytes[position])
            switch length {
            case 0:
                wire.append(0)
                offset = end ?? position + 1
                return DomainName(checked: wire)
            case 1...DomainName.labelLimit:
                guard bytes.count - position > length else { throw .truncated }
                guard wire.count + 1 + length < DomainName.lengthLimit else { throw .nameLength }
                wire.append(UInt8(length))
                for byte in bytes[(position + 1)...(position + length)] { wire.append(DomainName.lowercased(byte)) }
                position += 1 + length
            case 0xc0...:
                guard bytes.count - position >= 2 else { throw .truncated }
                let target = (length & 0x3f) << 8 | Int(bytes[position + 1])
                guard target < start, target >= Self.headerLength else { throw .pointer }
                end = end ?? position + 2
                position = target
                start = target
            default: throw .labelType
            }
        }
    }

    /// A resource record's head and the place of its data.
    package mutating func readRecord() throws(MessageError) -> RecordHead {
        let name = try readName()
        let type = RecordType(rawValue: try readUInt16())
        let recordClass = try readUInt16()
        let ttl = try readUInt32()
        let length = Int(try readUInt16())
        let start = offset
        try skip(length)
        return RecordHead(name: name, type: type, recordClass: recordClass, ttl: ttl, data: start..<offset)
    }
}

/// A resource record (RFC 1035 3.2.1), its data by its place in the message.
package struct RecordHead: Equatable, Sendable {
    package let name: DomainName
    package let type: RecordType
    package let recordClass: UInt16
    package let ttl: UInt32
    package let data: Range<Int>
}
