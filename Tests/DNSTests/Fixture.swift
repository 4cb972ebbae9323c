import Addressing
import DNS
import Timing

/// Queries as a client makes them, and answers as a server does, by hand.
enum Wire {
    static func query(
        _ name: String, _ type: RecordType = .a, id: UInt16 = 0x1234, udpSize: UInt16? = nil, version: UInt8 = 0
    ) -> [UInt8] {
        var bytes = header(id: id, flags: 0x0100, counts: [1, 0, 0, udpSize == nil ? 0 : 1])
        bytes += question(name, type)
        if let udpSize { bytes += [0, 0, 41] + number(udpSize) + [0, version, 0, 0, 0, 0] }
        return bytes
    }

    /// An answer with `records` that are whole resource records.
    static func answer(to query: [UInt8], id: UInt16? = nil, flags: UInt16 = 0x8180, records: [[UInt8]] = []) -> [UInt8]
    {
        var reader = MessageReader(query, at: 12)
        _ = try? reader.readName()
        let question = query[12..<(reader.offset + 4)]
        let id = id ?? UInt16(query[0]) << 8 | UInt16(query[1])
        return header(id: id, flags: flags, counts: [1, UInt16(records.count), 0, 0]) + question
            + records.flatMap(\.self)
    }

    static func header(id: UInt16, flags: UInt16, counts: [UInt16]) -> [UInt8] {
        number(id) + number(flags) + counts.flatMap(number)
    }

    static func question(_ name: String, _ type: RecordType) -> [UInt8] {
        var bytes: [UInt8] = []
        for label in name.utf8.split(separator: UInt8(ascii: ".")) { bytes += [UInt8(label.count)] + label }
        return bytes + [0] + number(type.rawValue) + [0, 1]
    }

    static func number(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }
}

/// A message taken apart again, every record of it.
struct Parsed {
    var header: Header
    var question: Question?
    var records: [[(head: RecordHead, data: [UInt8])]] = []

    init(_ bytes: [UInt8]) throws {
        var reader = MessageReader(bytes)
        header = try Header(reading: &reader)
        if header.questions == 1 {
            let name = try reader.readName()
            question = Question(
                name, RecordType(rawValue: try reader.readUInt16()), recordClass: try reader.readUInt16())
        }
        for count in [header.answers, header.authorities, header.additionals] {
            var section: [(RecordHead, [UInt8])] = []
            for _ in 0..<count {
                let head = try reader.readRecord()
                section.append((head, Array(bytes[head.data])))
            }
            records.append(section)
        }
        guard reader.offset == bytes.count else { throw MessageError.truncated }
    }

    var addresses: [IPAddress] {
        records[0].filter { $0.head.type == .a || $0.head.type == .aaaa }.compactMap { IPAddress(bytes: $0.data) }
    }
}

extension MonotonicTime {
    static func ms(_ count: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: 1_000_000_000 + count * 1_000_000) }
}

extension Resolver.Action {
    var answered: [UInt8]? { if case .answer(_, let bytes) = self { bytes } else { nil } }
    var sent: (attempt: UInt32, to: Endpoint, bytes: [UInt8])? {
        if case .send(let attempt, let endpoint, let bytes, _) = self { (attempt, endpoint, bytes) } else { nil }
    }
    var lookedUp: MeshKey? { if case .lookUp(let key) = self { key } else { nil } }
}
