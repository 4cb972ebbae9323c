import Addressing
import STUN
import TestSupport
import Testing
import Timing

@Suite struct BehaviorServerTests {
    let a1p1 = Endpoint(.v4(IPv4Address(192, 0, 2, 1)), port: 3478)
    let a2p2 = Endpoint(.v4(IPv4Address(192, 0, 2, 2)), port: 3479)
    let source = Endpoint(.v4(IPv4Address(203, 0, 113, 7)), port: 40_000)
    let here = BehaviorServer.Side(hasOtherAddress: false, hasOtherPort: false)

    func server(_ change: (inout BehaviorServer.Configuration) -> Void = { _ in }) throws -> BehaviorServer {
        var random = SeededRandom(seed: 1)
        var configuration = BehaviorServer.Configuration()
        change(&configuration)
        return try #require(
            BehaviorServer(primary: a1p1, other: a2p2, configuration, now: .zero, using: &random))
    }

    func ask(
        _ server: inout BehaviorServer, _ bytes: [UInt8], at side: BehaviorServer.Side? = nil,
        from source: Endpoint? = nil, now: MonotonicTime = .zero
    ) throws -> (message: Message, bytes: [UInt8], from: Endpoint, to: Endpoint)? {
        let answer = unsafe server.receive(
            bytes.span.bytes, at: side ?? here, from: source ?? self.source, now: now)
        guard case .send(let reply, let from, let to) = answer else { return nil }
        // A classic answer has no cookie.
        let readable = Array(reply[..<4]) + hex("2112a442") + reply[8...]
        return (try parse(readable), reply, server.endpoint(of: from), to)
    }

    func request(_ fill: (inout MessageBuilder) -> Void = { _ in }) -> [UInt8] {
        var builder = MessageBuilder(.request, transaction: sampleTransaction)
        fill(&builder)
        return builder.bytes
    }

    @Test func `a stock request of 20 bytes gets all of RFC 5780's addresses`() throws {
        var server = try server()
        let answer = try #require(try ask(&server, request()))
        #expect(answer.message.xorMappedAddress == source)
        #expect(answer.message.mappedAddress == source)
        #expect(answer.message.responseOrigin == a1p1)
        #expect(answer.message.otherAddress == a2p2)
        #expect(answer.from == a1p1)
        #expect(answer.to == source)
        #expect(answer.bytes.count == 68)
        let again = try #require(try ask(&server, request()))
        #expect(again.bytes == answer.bytes)
    }

    @Test func `CHANGE-REQUEST changes the address, the port or both, from whichever side it came to`() throws {
        var server = try server()
        for side in BehaviorServer.Side.allCases {
            for (address, port) in [(false, false), (false, true), (true, false), (true, true)] {
                let bytes = request { $0.appendChangeRequest(address: address, port: port) }
                let answer = try #require(try ask(&server, bytes, at: side))
                let asked = server.endpoint(of: side)
                #expect((answer.from.address != asked.address) == address)
                #expect((answer.from.port != asked.port) == port)
                #expect(answer.message.responseOrigin == answer.from)
                #expect(answer.message.otherAddress == (asked == a2p2 ? a1p1 : a2p2))
            }
        }
    }

    @Test func `RESPONSE-PORT changes the port that it answers to, and never the address`() throws {
        var server = try server()
        let answer = try #require(try ask(&server, request { $0.append(.responsePort, [0x9c, 0x41, 0, 0]) }))
        #expect(answer.to == Endpoint(source.address, port: 40_001))
        #expect(answer.message.xorMappedAddress == source)
        let zero = try #require(try ask(&server, request { $0.append(.responsePort, [0, 0, 0, 0]) }))
        #expect(zero.to == source)
    }

    @Test func `padding comes back up to the size of the question, but not to another port`() throws {
        var server = try server()
        let padded = request { $0.append(.padding, [UInt8](repeating: 0, count: 1200)) }
        let answer = try #require(try ask(&server, padded))
        #expect(answer.bytes.count == padded.count)
        #expect(answer.message.paddingSize ?? 0 > 1100)
        let diverted = request {
            $0.append(.padding, [UInt8](repeating: 0, count: 1200))
            $0.append(.responsePort, [0x9c, 0x41, 0, 0])
        }
        #expect(try #require(try ask(&server, diverted)).message.errorCode == 400)
    }

    @Test func `unknown attributes are refused with 420, and RESPONSE-ADDRESS is one`() throws {
        var server = try server()
        let reflecting = request { $0.append(AttributeType(rawValue: 2), [0, 1, 0, 80, 198, 51, 100, 1]) }
        let answer = try #require(try ask(&server, reflecting))
        #expect(answer.message.errorCode == 420)
        #expect(answer.message.unknownAttributes == [AttributeType(rawValue: 2)])
        #expect(answer.to == source)
    }

    /// As stund's client sends: no cookie, CHANGE-REQUEST always there.
    @Test func `a classic client gets MAPPED-ADDRESS, SOURCE-ADDRESS and CHANGED-ADDRESS, and its own id back`() throws
    {
        var server = try server()
        let classic = hex("0001 0008 00010203 0405060708090a0b0c0d0e0f 0003 0004 00000006")
        let answer = try #require(try ask(&server, classic))
        #expect(Array(answer.bytes[4..<20]) == Array(classic[4..<20]))
        #expect(answer.message.mappedAddress == source)
        #expect(answer.message.xorMappedAddress == nil)
        #expect(answer.from == a2p2)
        #expect(Array(answer.bytes.suffix(12)) == hex("0005 0008 0001 0d97 c0000202"))
        var modern = try self.server { $0.takesClassicClients = false }
        #expect(try ask(&modern, classic) == nil)
        #expect(modern.count(of: .malformed) == 1)
    }

    @Test func `a forger gets at most the excess: full answers, then small ones, then none`() throws {
        var server = try server { $0.limit = .init(perSecond: 1_000_000, burst: 1_000_000) }
        var sizes: [Int: Int] = [:]
        for _ in 0..<10_000 { sizes[try ask(&server, request())?.bytes.count ?? 0, default: 0] += 1 }
        #expect(sizes == [68: 85, 32: 1, 0: 9914])
        // Of 4,096 bytes of excess, 4,092 were used. A second brings 192 more.
        sizes = [:]
        for _ in 0..<100 {
            sizes[try ask(&server, request(), now: .zero + .seconds(1))?.bytes.count ?? 0, default: 0] += 1
        }
        #expect(sizes == [68: 4, 0: 96])
    }

    @Test func `all forged sources together get at most the total, and padded questions are answered all the same`()
        throws
    {
        var server = try server()
        var excess = 0
        for index in 0..<20_000 {
            let source = Endpoint(.v4(IPv4Address(value: 0x0b00_0000 + UInt32(index))), port: 9)
            guard let answer = try ask(&server, request(), from: source) else { continue }
            excess += answer.bytes.count - 20
        }
        #expect((65_536 - 48...65_536).contains(excess))
        let padded = request { $0.append(.software, [UInt8](repeating: 0x20, count: 44)) }
        #expect(try #require(try ask(&server, padded)).bytes.count == 68)
    }

    @Test func `100,000 mutated requests: answers go to their source only, and the excess stays bounded`() throws {
        var server = try server { $0.limit = .init(perSecond: 1_000_000, burst: 1_000_000) }
        var random = SeededRandom(seed: 12)
        let samples = [
            sampleRequest, request { $0.appendChangeRequest(address: true, port: true) },
            request { $0.append(.responsePort, [1, 2, 0, 0]) }, request { $0.append(.padding, [1, 2, 3, 4]) },
            hex("0001 0008 00010203 0405060708090a0b0c0d0e0f 0003 0004 00000006"),
        ]
        var (answers, excess) = (0, 0)
        for round in 0..<100_000 {
            var bytes = random.mutated(samples[round % samples.count])
            if bytes.count >= 20, round % 3 > 0 { bytes[3] = UInt8(truncatingIfNeeded: bytes.count - 20) }
            guard
                case .send(let reply, _, let to) = unsafe server.receive(
                    bytes.span.bytes, at: here, from: source, now: .zero + .milliseconds(UInt64(round)))
            else { continue }
            answers += 1
            excess += max(0, reply.count - bytes.count)
            #expect(to.address == source.address)
        }
        #expect(answers > 1000)
        #expect(excess <= 4096 + 100 * 192)
    }

    @Test func `endpoints that differ in one part only, or in family, make no server`() throws {
        var random = SeededRandom(seed: 13)
        for other in ["192.0.2.1:3479", "192.0.2.2:3478", "[2001:db8::2]:3479"] {
            let server = BehaviorServer(
                primary: a1p1, other: try #require(Endpoint(other)), now: .zero, using: &random)
            #expect(server == nil)
        }
    }
}
