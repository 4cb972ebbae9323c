/// What is asked: a name, a type and a class (RFC 1035 4.1.2).
package struct Question: Hashable, Sendable {
    package static let internet: UInt16 = 1

    package let name: DomainName
    package let type: RecordType
    package let recordClass: UInt16

    package init(_ name: DomainName, _ type: RecordType, recordClass: UInt16 = internet) {
        self.name = name
        self.type = type
        self.recordClass = recordClass
    }

    init(reading reader: inout MessageReader) throws(MessageError) {
        name = try reader.readName()
        type = RecordType(rawValue: try reader.readUInt16())
        recordClass = try reader.readUInt16()
    }
}

/// A client's message, as far as an answer needs it.
package struct Query: Equatable, Sendable {
    package let header: Header
    package let question: Question
    /// As it was asked, letter for letter, to be said again in the answer.
    package let questionBytes: [UInt8]
    package let edns: EDNS?

    /// What an OPT record says (RFC 6891 6.1.3).
    package struct EDNS: Equatable, Sendable {
        package let udpSize: Int
        package let version: UInt8
    }

    package enum Fault: Error, Equatable, Sendable {
        /// No query at all: any answer could be an answer to an answer.
        case silence
        case answer(ResponseCode)
    }

    package static let recordLimit = 64

    /// What a client takes by UDP, never less than 512 (RFC 6891 6.2.3) and never more than most networks carry whole.
    package var udpLimit: Int { min(max(edns?.udpSize ?? 512, 512), 1232) }

    package init(_ bytes: [UInt8]) throws(Fault) {
        var reader = MessageReader(bytes)
        let header: Header
        do { header = try Header(reading: &reader) } catch { throw .silence }
        guard !header.isResponse else { throw .silence }
        guard header.opcode == 0 else { throw .answer(.notImplemented) }
        guard header.questions == 1 else { throw .answer(.formatError) }
        do throws(MessageError) {
            question = try Question(reading: &reader)
            questionBytes = Array(bytes[MessageReader.headerLength..<reader.offset])
            edns = try Self.edns(&reader, header)
        } catch { throw .answer(.formatError) }
        self.header = header
    }

    private static func edns(_ reader: inout MessageReader, _ header: Header) throws(MessageError) -> EDNS? {
        let records = Int(header.answers) + Int(header.authorities)
        let all = records + Int(header.additionals)
        guard all <= recordLimit else { throw .tooManyRecords }
        var edns: EDNS?
        for index in 0..<all {
            let record = try reader.readRecord()
            guard record.type == .opt else { continue }
            guard edns == nil, index >= records, record.name == .root else { throw .misplacedOPT }
            edns = EDNS(udpSize: Int(record.recordClass), version: UInt8(truncatingIfNeeded: record.ttl >> 16))
        }
        return edns
    }

    /// Whether `bytes` answer what was asked under `id`: what comes from elsewhere is unlikely to know both.
    ///
    /// - Parameter bytes: from a server, otherwise unread.
    package static func isAnswer(_ bytes: [UInt8], to question: Question, id: UInt16) -> Bool {
        var reader = MessageReader(bytes)
        guard let header = try? Header(reading: &reader), header.isResponse, header.id == id else { return false }
        // A server that could not read the question, or will not, may leave it out.
        if header.questions == 0 { return header.code != .noError && header.code != .nameError }
        guard header.questions == 1, let said = try? Question(reading: &reader) else { return false }
        return said == question
    }
}
