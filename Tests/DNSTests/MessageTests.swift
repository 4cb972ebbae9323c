import Addressing
import DNS
import TestSupport
import Testing
import Timing

@Suite struct MessageTests {
    /// RFC 1035 4.1.4: F.ISI.ARPA at 20, FOO.F.ISI.ARPA at 40, ARPA at 64, the root at 92.
    @Test func `the names of RFC 1035's example are read`() throws {
        var bytes = [UInt8](repeating: 0xee, count: 93)
        bytes.replaceSubrange(20..<32, with: [1] + "F".utf8 + [3] + "ISI".utf8 + [4] + "ARPA".utf8 + [0])
        bytes.replaceSubrange(40..<46, with: [3] + "FOO".utf8 + [0xc0, 20])
        bytes.replaceSubrange(64..<66, with: [0xc0, 26])
        bytes[92] = 0
        for (offset, name, end) in [
            (20, "f.isi.arpa", 32), (40, "foo.f.isi.arpa", 46), (64, "arpa", 66), (92, ".", 93),
        ] {
            var reader = MessageReader(bytes, at: offset)
            #expect(try reader.readName().description == name)
            #expect(reader.offset == end)
        }
    }

    @Test func `a pointer must lead back, and never into the header`() {
        for (bytes, at) in [
            ([0xc0, 12], 12), ([0xc0, 14, 0], 12), ([0xc0, 0], 12), ([0xc0, 11], 12), ([0xff, 0xff], 12),
            // Two that lead to each other, and one to itself through a label.
            ([0xc0, 14, 0xc0, 12], 14), ([1, 97, 0xc0, 12], 12),
        ] as [([UInt8], Int)] {
            var reader = MessageReader([UInt8](repeating: 0, count: 12) + bytes, at: at)
            #expect(throws: MessageError.pointer) { try reader.readName() }
        }
    }

    @Test func `a chain of pointers ends, however long`() throws {
        var bytes = [UInt8](repeating: 0, count: 12) + [1, 97, 0]
        for _ in 0..<8000 {
            let target = bytes.count == 15 ? 12 : bytes.count - 2
            bytes += [0xc0 | UInt8(target >> 8), UInt8(target & 255)]
        }
        var reader = MessageReader(bytes, at: bytes.count - 2)
        #expect(try reader.readName().description == "a")
    }

    @Test func `a name of 255 bytes is read, and one more is not`() throws {
        func name(last: Int) -> [UInt8] {
            let label = [63] + [UInt8](repeating: 97, count: 63)
            return label + label + label + [UInt8(last)] + [UInt8](repeating: 98, count: last) + [0]
        }
        let header = [UInt8](repeating: 0, count: 12)
        var reader = MessageReader(header + name(last: 61), at: 12)
        #expect(try reader.readName().wire.count == 255)
        var tooLong = MessageReader(header + name(last: 62), at: 12)
        #expect(throws: MessageError.nameLength) { try tooLong.readName() }
        // Also where pointers make it longer than the message is.
        var pointed = MessageReader(header + name(last: 61) + [1, 99, 0xc0, 12], at: 12 + 255)
        #expect(throws: MessageError.nameLength) { try pointed.readName() }
    }

    @Test func `labels of the types that RFC 6891 5 retired are refused`() {
        for first: UInt8 in [0x40, 0x41, 0x80, 0xbf] {
            var reader = MessageReader([UInt8](repeating: 0, count: 12) + [first, 0, 0], at: 12)
            #expect(throws: MessageError.labelType) { try reader.readName() }
        }
    }

    @Test func `a query's parts are read, and its question kept letter for letter`() throws {
        let query = try Query(Wire.query("WeB.Default.demo.warren.internal", .aaaa, udpSize: 1232))
        #expect(query.question == Question(try #require(DomainName("web.default.demo.warren.internal")), .aaaa))
        #expect(query.questionBytes.starts(with: [3] + "WeB".utf8))
        #expect(query.edns?.udpSize == 1232 && query.edns?.version == 0)
        #expect(query.udpLimit == 1232)
        #expect(try Query(Wire.query("a.b", udpSize: 65535)).udpLimit == 1232)
        #expect(try Query(Wire.query("a.b", udpSize: 10)).udpLimit == 512)
        #expect(try Query(Wire.query("a.b")).udpLimit == 512)
    }

    @Test func `what is no query gets no answer, and what is a bad one gets a code`() {
        let query = Wire.query("a.b")
        var response = query
        response[2] |= 0x80
        var status = query
        status[2] |= 0x10
        var two = query
        two[5] = 2
        for (bytes, fault) in [
            ([], .silence), (Array(query.prefix(11)), .silence), (response, .silence),
            (status, .answer(.notImplemented)), (two, .answer(.formatError)),
            (Array(query.dropLast()), .answer(.formatError)), (Array(query.prefix(12)), .answer(.formatError)),
        ] as [([UInt8], Query.Fault)] {
            #expect(throws: fault) { try Query(bytes) }
        }
    }

    @Test func `more than one OPT record, or one that is not the root's, is a format error`() {
        let opt: [UInt8] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
        var twice = Wire.query("a.b", udpSize: 1232) + opt
        twice[11] = 2
        #expect(throws: Query.Fault.answer(.formatError)) { try Query(twice) }
        var named = Wire.query("a.b") + [1, 97] + opt
        named[11] = 1
        #expect(throws: Query.Fault.answer(.formatError)) { try Query(named) }
        var answer = Wire.query("a.b") + opt
        answer[7] = 1
        #expect(throws: Query.Fault.answer(.formatError)) { try Query(answer) }
        var many = Wire.query("a.b")
        many[10] = 255
        #expect(throws: Query.Fault.answer(.formatError)) { try Query(many) }
    }

    @Test func `an answer is whole, authoritative, and read as it was meant`() throws {
        let query = try Query(Wire.query("Web.default.demo.warren.internal", .aaaa, id: 77, udpSize: 4096))
        let address = try #require(IPAddress("fd77:6172:7265:1::7"))
        var response = Response(isAuthoritative: true)
        response.answers = [.address(address, ttl: 5)]
        response.authorities = [.authority(of: try #require(DomainName("demo.warren.internal")), minimum: 2)]
        let bytes = response.encoded(for: query, limit: 1232)
        let parsed = try Parsed(bytes)
        #expect(parsed.header.id == 77)
        #expect(parsed.header.flags == 0x8580)
        #expect(parsed.addresses == [address])
        #expect(parsed.records[0][0].head.name == query.question.name)
        #expect(parsed.records[0][0].head.ttl == 5)
        #expect(parsed.records[1][0].head.type == .soa)
        #expect(parsed.records[1][0].data.suffix(4) == [0, 0, 0, 2])
        #expect(parsed.records[2][0].head.type == .opt)
        // The letters that the client chose come back (draft-vixie-dnsext-dns0x20).
        #expect(bytes[12..<16] == [3] + "Web".utf8)
    }

    @Test func `answers that don't fit are truncated to whole records`() throws {
        let query = try Query(Wire.query("g.default.group.demo.warren.internal", .aaaa, udpSize: 512))
        var response = Response(isAuthoritative: true)
        response.answers = (0..<40).map { .address(.v6(IPv6Address(high: 1, low: $0)), ttl: 5) }
        for limit in 60...1300 {
            let bytes = response.encoded(for: query, limit: limit)
            let parsed = try Parsed(bytes)
            #expect(bytes.count <= max(limit, 12 + query.questionBytes.count + 11))
            #expect(parsed.header.isTruncated == (parsed.header.answers < 40))
        }
        #expect(try !Parsed(response.encoded(for: query, limit: 65535)).header.isTruncated)
    }

    @Test func `additional records that don't fit are left out without a word`() throws {
        let query = try Query(Wire.query("a.b"))
        var response = Response()
        response.answers = [.address(.v4(IPv4Address(1, 2, 3, 4)), ttl: 1)]
        response.additionals = (0..<40).map { .address(.v6(IPv6Address(high: 1, low: $0)), ttl: 5) }
        let parsed = try Parsed(response.encoded(for: query, limit: 512))
        #expect(!parsed.header.isTruncated)
        #expect((1..<40).contains(parsed.header.additionals))
    }

    @Test func `only the answer to the question under its id is one`() throws {
        let bytes = Wire.query("Api.default.svc.cluster.local", id: 5)
        let question = try Query(bytes).question
        let answer = Wire.answer(to: bytes, id: 9)
        #expect(Query.isAnswer(answer, to: question, id: 9))
        #expect(!Query.isAnswer(answer, to: question, id: 5))
        #expect(!Query.isAnswer(Wire.answer(to: Wire.query("b.default.svc.cluster.local"), id: 9), to: question, id: 9))
        #expect(!Query.isAnswer(Wire.answer(to: bytes, id: 9, flags: 0x0180), to: question, id: 9))
        #expect(!Query.isAnswer(Array(answer.prefix(20)), to: question, id: 9))
        // Without a question only as a refusal.
        #expect(!Query.isAnswer(Wire.header(id: 9, flags: 0x8180, counts: [0, 0, 0, 0]), to: question, id: 9))
        #expect(Query.isAnswer(Wire.header(id: 9, flags: 0x8181, counts: [0, 0, 0, 0]), to: question, id: 9))
    }

    @Test(arguments: 1...4) func `no mutation of a message stops the reader or makes it wrong`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let seeds = [
            Wire.query("web.default.demo.warren.internal", .aaaa, udpSize: 1232), Wire.query("a.b", .srv),
            Wire.query("7.0.0.0.1.0.0.0.ip6.arpa", .ptr),
            Wire.answer(
                to: Wire.query("a.b"), records: [[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 1, 2, 3, 4]]),
        ]
        for _ in 0..<5000 {
            var bytes = seeds[Int.random(in: 0..<seeds.count, using: &random)]
            for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<5, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes[index] = [0, 0x3f, 0x40, 0xc0, 0xff][Int.random(in: 0..<5, using: &random)]
                case 2: bytes.removeSubrange(index...)
                case 3: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
                default: bytes += bytes[index...]
                }
            }
            if let query = try? Query(bytes) {
                #expect(query.question.name.wire.count <= 255)
                var response = Response(code: .nameError)
                response.answers = [.address(.v4(.any), ttl: 1)]
                let answer = response.encoded(for: query, limit: query.udpLimit)
                #expect(answer.count <= query.udpLimit)
                #expect(throws: Never.self) { try Parsed(answer) }
                #expect(Query.isAnswer(answer, to: query.question, id: query.header.id))
            }
            _ = try? Parsed(bytes)
        }
    }
}
