package import Addressing

/// An answer of ours: made from values, written once.
package struct Response: Equatable, Sendable {
    package struct Record: Equatable, Sendable {
        /// Nil for the name that was asked for.
        package let owner: DomainName?
        package let type: RecordType
        package let ttl: UInt32
        package let data: [UInt8]

        package init(_ owner: DomainName? = nil, _ type: RecordType, ttl: UInt32, data: [UInt8]) {
            self.owner = owner
            self.type = type
            self.ttl = ttl
            self.data = data
        }
    }

    package var code = ResponseCode.noError
    package var isAuthoritative = false
    package var answers: [Record] = []
    package var authorities: [Record] = []
    /// Left out where they don't fit.
    package var additionals: [Record] = []

    package init(code: ResponseCode = .noError, isAuthoritative: Bool = false) {
        self.code = code
        self.isAuthoritative = isAuthoritative
    }

    /// What our OPT records say we take.
    package static let udpSize: UInt16 = 1232
    private static let optLength = 11

    /// The message in at most `limit` bytes; truncated where the answers need more (RFC 2181 9).
    package func encoded(for query: Query, limit: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(min(limit, 512))
        let kept = query.header.flags & (Header.recursionDesired | Header.checkingDisabled)
        let flags =
            Header.response | Header.recursionAvailable | kept | (isAuthoritative ? Header.authoritative : 0)
            | UInt16(code.rawValue & 15)
        bytes.append16(query.header.id)
        bytes.append16(flags)
        for count: UInt16 in [1, 0, 0, 0] { bytes.append16(count) }
        bytes += query.questionBytes
        let room = limit - (query.edns == nil ? 0 : Self.optLength)
        var counts: [UInt16] = [0, 0, query.edns == nil ? 0 : 1]
        var isFull = false
        for (section, records) in [answers, authorities, additionals].enumerated() where !isFull {
            for record in records {
                let before = bytes.count
                bytes.append(encoding: record)
                guard bytes.count <= room else {
                    bytes.removeSubrange(before...)
                    isFull = true
                    if section < 2 { bytes[2] |= UInt8(Header.truncated >> 8) }
                    break
                }
                counts[section] += 1
            }
        }
        if query.edns != nil {
            bytes.append(0)
            bytes.append16(RecordType.opt.rawValue)
            bytes.append16(Self.udpSize)
            // The upper bits of the code, version 0, no flags: there are no signatures to tell of.
            bytes += [code.rawValue >> 4, 0, 0, 0, 0, 0]
        }
        for (index, count) in counts.enumerated() {
            bytes[6 + 2 * index] = UInt8(count >> 8)
            bytes[7 + 2 * index] = UInt8(count & 255)
        }
        return bytes
    }

    /// A header alone, for a query that could not be read.
    package static func bare(_ code: ResponseCode, to bytes: [UInt8]) -> [UInt8] {
        let opcodeAndRD = bytes[2] & 0x79
        return [bytes[0], bytes[1], 0x80 | opcodeAndRD, code.rawValue & 15] + [UInt8](repeating: 0, count: 8)
    }
}

extension Response.Record {
    package static func address(_ address: IPAddress, owner: DomainName? = nil, ttl: UInt32) -> Self {
        Self(owner, address.isIPv6 ? .aaaa : .a, ttl: ttl, data: address.bytes)
    }

    package static func pointer(to name: DomainName, ttl: UInt32) -> Self { Self(nil, .ptr, ttl: ttl, data: name.wire) }

    /// RFC 2782: the first choice among equals.
    package static func service(port: UInt16, target: DomainName, ttl: UInt32) -> Self {
        Self(nil, .srv, ttl: ttl, data: [0, 0, 0, 0, UInt8(port >> 8), UInt8(port & 255)] + target.wire)
    }

    /// A zone's SOA, for answers that say no: `minimum` is how long that may be kept (RFC 2308 4).
    package static func authority(of zone: DomainName, minimum: UInt32) -> Self {
        var data = zone.wire
        data += (DomainName("hostmaster", below: zone) ?? zone).wire
        for number: UInt32 in [1, 7200, 900, 86400, minimum] {
            data.append16(UInt16(number >> 16))
            data.append16(UInt16(number & 0xffff))
        }
        return Self(zone, .soa, ttl: minimum, data: data)
    }
}

extension [UInt8] {
    mutating func append16(_ number: UInt16) {
        append(UInt8(number >> 8))
        append(UInt8(number & 255))
    }

    /// The owner is written whole, or as a pointer to the question (RFC 1035 4.1.4).
    fileprivate mutating func append(encoding record: Response.Record) {
        if let owner = record.owner { self += owner.wire } else { self += [0xc0, UInt8(MessageReader.headerLength)] }
        append16(record.type.rawValue)
        append16(Question.internet)
        append16(UInt16(record.ttl >> 16))
        append16(UInt16(record.ttl & 0xffff))
        append16(UInt16(record.data.count))
        self += record.data
    }
}
